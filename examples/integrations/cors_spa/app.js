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
  const client = { client_id: settings.client_id, client_secret: settings.client_secret };
  return fetch(endpoint, { method: "POST", body: new URLSearchParams({ ...parameters, ...client }) });
}

async function getToken(settings) {
  const response = await ask(settings, settings.token_endpoint, {
    grant_type: "client_credentials",
    scope: "claims:read",
  });
  token = (await response.json()).access_token;
  element("token").value = `${token.slice(0, 8)}…`;
  show("get a token", response.status, "", "");
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
  element("page").textContent = location.origin;
  element("api").textContent = settings.api;
  element("issuer").textContent = settings.issuer;
  element("get").onclick = () => getToken(settings);
  element("revoke").onclick = () => revoke(settings);
  element("without").onclick = () => call(settings, "without a token", "/claims", null);
  element("claims").onclick = () => call(settings, "with the token", "/claims", token);
  element("admin").onclick = () => call(settings, "what needs more", "/admin", token);
  document.body.dataset.ready = "yes";
}

main();
