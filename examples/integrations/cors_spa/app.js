"use strict";

const element = (id) => document.getElementById(id);
// In memory only: what is in localStorage, every script of the origin can read for ever.
let token = null;

/** Calls the API and shows what came back. */
async function call(settings, title, path, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let status = 0, challenge = "", body;
  try {
    const response = await fetch(settings.api + path, { headers });
    status = response.status;
    // `null` unless the API exposes the header (Access-Control-Expose-Headers).
    challenge = response.headers.get("WWW-Authenticate") ?? "";
    body = JSON.stringify(await response.json(), null, 1);
  } catch (error) {
    body = `blocked, or no connection: ${error.message}`;
  }
  show(title, status, challenge, body);
}

/** Asks the authorization server: the token endpoint (RFC 6749 section 3.2) or the revocation endpoint (RFC 7009). */
function ask(settings, endpoint, parameters) {
  const client = { client_id: settings.client_id };
  if (settings.client_secret) client.client_secret = settings.client_secret;
  return fetch(endpoint, { method: "POST", body: new URLSearchParams({ ...parameters, ...client }) });
}

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const redirectUri = `${location.origin}/`;

/** Sends the browser to the authorization server: authorization code grant with PKCE (RFC 7636). */
async function logIn(settings) {
  const login = { state: random(), verifier: random() };
  // Only until the browser returns.
  sessionStorage.setItem("login", JSON.stringify(login));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(login.verifier));
  location.assign(`${settings.authorization_endpoint}?${new URLSearchParams({
    response_type: "code",
    client_id: settings.client_id,
    redirect_uri: redirectUri,
    scope: "claims:read",
    state: login.state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  })}`);
}

/** Exchanges the code, if the browser returns from a login that this page started (RFC 6749, RFC 9207). */
async function finishLogIn(settings) {
  const answer = new URLSearchParams(location.search);
  const login = JSON.parse(sessionStorage.getItem("login"));
  sessionStorage.removeItem("login");
  if (!answer.has("state")) return;
  history.replaceState(null, "", location.pathname);
  if (answer.get("state") !== login?.state || answer.get("iss") !== settings.issuer) {
    show("log in", 0, "", "the response does not belong to a login of this page");
  } else if (answer.has("error")) {
    show("log in", 0, "", `${answer.get("error")}: ${answer.get("error_description")}`);
  } else {
    const response = await ask(settings, settings.token_endpoint, {
      grant_type: "authorization_code",
      code: answer.get("code"),
      code_verifier: login.verifier,
      redirect_uri: redirectUri,
    });
    await keepToken(response);
  }
}

async function keepToken(response) {
  const body = await response.json();
  token = body.access_token ?? null;
  element("token").value = token ? `${token.slice(0, 8)}…` : "none";
  show("get a token", response.status, "", body.error_description ?? "");
}

async function getToken(settings) {
  if (!settings.client_secret) return logIn(settings);
  const response = await ask(settings, settings.token_endpoint, {
    grant_type: "client_credentials",
    scope: "claims:read",
  });
  await keepToken(response);
}

async function revoke(settings) {
  const response = await ask(settings, settings.revocation_endpoint, { token });
  // The token is kept, to see what the API says of it now.
  element("token").value = "revoked";
  show("revoke the token", response.status, "", "");
}

/** Text only, never markup: answers are not to be trusted with the page. */
function show(title, status, challenge, body) {
  const row = element("calls").insertRow();
  for (const text of [title, status, challenge]) row.insertCell().textContent = text;
  row.cells[1].className = `s${Math.floor(status / 100)}`;
  const pre = document.createElement("pre");
  pre.textContent = body;
  row.insertCell().append(pre);
}

async function main() {
  const settings = await (await fetch("settings.json")).json();
  if (!settings.token_endpoint) {
    const metadata = `${settings.issuer}/.well-known/openid-configuration`;
    Object.assign(settings, await (await fetch(metadata)).json());
  }
  element("page").textContent = location.origin;
  element("api").textContent = settings.api;
  element("issuer").textContent = settings.issuer;
  element("get").onclick = () => getToken(settings);
  element("revoke").onclick = () => revoke(settings);
  element("without").onclick = () => call(settings, "without a token", "/claims", null);
  element("claims").onclick = () => call(settings, "with the token", "/claims", token);
  element("admin").onclick = () => call(settings, "what needs more", "/admin", token);
  await finishLogIn(settings);
  document.body.dataset.ready = "yes";
}

main();
