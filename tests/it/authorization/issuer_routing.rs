//! Each token is judged by the rules of one issuer only, whatever the token says and however opaque tokens are routed.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, ProtectApi, TenantRequest,
    test::{Endpoint, TestClock, TestIssuer},
};
use actix_web::{
    App, body,
    dev::{Service, ServiceResponse},
    http::header,
    rt::System,
    test::{self as harness, TestRequest},
    web,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;

use crate::support::service::introspecting;

const ISSUERS: usize = 3;
const AUDIENCES: [&str; ISSUERS] = ["staff-api", "partners-api", "machines-api"];
/// The claim that each issuer's rules require.
const REQUIRED: [&str; ISSUERS] = ["staff_id", "partner_id", "machine_id"];
/// The claim in which each issuer's rules find the scope `read`, and its value.
const SCOPES: [(&str, &str); ISSUERS] =
    [("scope", "read"), ("scp", "read"), ("permissions", "machines:read")];

/// Three issuers that differ in audience, credentials, required claim, scope claim and use of introspection.
struct World {
    issuers: [TestIssuer; ISSUERS],
    apis: [ProtectApi; ISSUERS],
}

impl World {
    fn start() -> Self {
        let secret = |index: usize| format!("the-secret-of-the-client-with-the-number-{index}");
        let issuers = [0, 1, 2].map(|index: usize| {
            let builder = TestIssuer::builder().audience(AUDIENCES[index]);
            builder.client(&format!("client-{index}"), &secret(index)).start()
        });
        let apis = [0, 1, 2].map(|index: usize| {
            let client = match index {
                0 => ClientAuthentication::client_secret_basic(secret(index)),
                _ => ClientAuthentication::client_secret_post(secret(index)),
            };
            let api = ProtectApi::builder(issuers[index].issuer(), AUDIENCES[index])
                .client(format!("client-{index}"), client)
                .required_claims([REQUIRED[index]])
                .scope_claims([SCOPES[index].0]);
            match index {
                1 => api.introspection_cache_duration(Duration::from_secs(3600)).build().unwrap(),
                2 => api.scope_prefix("machines:").introspect_jwt_tokens(true).build().unwrap(),
                _ => api.build().unwrap(),
            }
        });
        Self { issuers, apis }
    }

    fn introspections(&self) -> [usize; ISSUERS] {
        [0, 1, 2].map(|index: usize| self.issuers[index].count(Endpoint::Introspection))
    }
}

/// The way of opaque tokens, and of tokens of issuers that are not configured.
#[derive(Clone, Debug)]
enum Route {
    Nothing,
    /// The last segment of the path is the issuer.
    ByRequest,
    InOrder(Vec<usize>),
    /// The issuers 1 and 2 are tenants, and the last segment of the path is the tenant.
    Tenants,
}

/// One token and one mount. The numbers are issuers; 3 is an unknown one.
#[derive(Clone, Debug)]
struct Case {
    is_jwt: bool,
    /// Signs the JWT, or has minted the opaque token.
    signer: usize,
    /// The issuers whose `iss`, audience, required claim and scope claim the token has.
    named: usize,
    audience: usize,
    required: usize,
    scopes: usize,
    /// Opaque tokens that start as this one are sent to this issuer.
    prefix: Option<usize>,
    route: Route,
    /// The issuer in the path.
    path: usize,
    requires_scope: bool,
}

fn case() -> impl Strategy<Value = Case> {
    (0..ISSUERS).prop_flat_map(|base| {
        let near = move || prop_oneof![5 => Just(base), 1 => 0..ISSUERS];
        let near_or_unknown = move || prop_oneof![5 => Just(base), 1 => 0..=ISSUERS];
        let order = Just(vec![0, 1, 2]).prop_shuffle();
        let order = (order, 1..=ISSUERS).prop_map(|(order, length)| Route::InOrder(order[..length].to_vec()));
        let route = prop_oneof![
            1 => Just(Route::Nothing),
            2 => Just(Route::ByRequest),
            3 => order,
            3 => Just(Route::Tenants),
        ];
        let prefix = prop_oneof![3 => Just(None), 1 => near().prop_map(Some)];
        let scopes = prop_oneof![1 => Just(base), 1 => 0..ISSUERS];
        let token = (any::<bool>(), near(), near_or_unknown(), near(), near(), scopes);
        (token, prefix, route, near_or_unknown(), any::<bool>()).prop_map(
            |((is_jwt, signer, named, audience, required, scopes), prefix, route, path, requires_scope)| {
                let prefix = prefix.filter(|_| !matches!(route, Route::Tenants));
                Case {
                    is_jwt,
                    signer,
                    named,
                    audience,
                    required,
                    scopes,
                    prefix,
                    route,
                    path,
                    requires_scope,
                }
            },
        )
    })
}

impl Case {
    fn token(&self, world: &World) -> String {
        let named = world.issuers.get(self.named).map_or("https://unknown.example.test", TestIssuer::issuer);
        let (scope_claim, scope) = SCOPES[self.scopes];
        let mut claims =
            json!({ "sub": "alice", "iss": named, "aud": AUDIENCES[self.audience], "scope": null });
        claims[REQUIRED[self.required]] = "1".into();
        claims[scope_claim] = scope.into();
        let signer = &world.issuers[self.signer];
        if self.is_jwt { signer.jwt(claims) } else { signer.opaque(claims) }
    }

    fn protect(&self, world: &World, token: &str) -> ProtectApi {
        let apis = world.apis.clone();
        let mut mount = match &self.route {
            Route::Tenants => {
                let resolve = move |name: String| -> Pin<Box<dyn Future<Output = _>>> {
                    let tenant = segment(&name).and_then(|index| apis.get(index)).cloned();
                    Box::pin(async move { Ok(tenant) })
                };
                let name = |request: TenantRequest<'_>| request.path.map(str::to_owned);
                ProtectApi::any_of([world.apis[0].clone()]).tenants(name, resolve)
            }
            _ => ProtectApi::any_of(world.apis.clone()),
        };
        if let Some(index) = self.prefix {
            mount = mount.opaque_prefix(token.get(..16).unwrap(), &world.apis[index]);
        }
        match &self.route {
            Route::ByRequest => {
                let names: Vec<_> = world.issuers.iter().map(|issuer| issuer.issuer().to_owned()).collect();
                mount = mount.opaque_by_request(move |request| names.get(segment(request.path())?).cloned());
            }
            Route::InOrder(order) => {
                mount = mount.opaque_in_order(order.iter().map(|index| &world.apis[*index]));
            }
            Route::Nothing | Route::Tenants => {}
        }
        mount.build().unwrap()
    }

    /// The issuers that may validate the token, in order.
    fn candidates(&self) -> Vec<usize> {
        let known = |index: usize| (index < ISSUERS).then_some(index).into_iter().collect();
        match (&self.route, self.is_jwt, self.prefix) {
            (Route::Tenants, true, _) if self.named == 0 => vec![0],
            (Route::Tenants, _, _) => known(self.path),
            (_, true, _) => known(self.named),
            (_, false, Some(index)) => vec![index],
            (Route::Nothing, ..) => Vec::new(),
            (Route::ByRequest, ..) => known(self.path),
            (Route::InOrder(order), ..) => order.clone(),
        }
    }

    /// The issuer that accepts the token, and the status.
    fn expected(&self) -> (u16, Option<usize>) {
        let judge = self.signer;
        let is_valid = self.candidates().contains(&judge)
            && [self.named, self.audience, self.required].iter().all(|index| *index == judge);
        match is_valid {
            false => (401, None),
            true if self.requires_scope && self.scopes != judge => (403, None),
            true => (200, Some(judge)),
        }
    }
}

/// The number in the last segment of a path.
fn segment(path: &str) -> Option<usize> {
    path.rsplit('/').next()?.parse().ok()
}

async fn issuer(caller: AuthenticatedRequest) -> String {
    caller.issuer().to_owned()
}

async fn answer<S, B>(app: &S, path: &str, token: &str) -> (u16, String)
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: body::MessageBody,
    B::Error: std::fmt::Debug,
{
    let authorization = (header::AUTHORIZATION, format!("Bearer {token}"));
    let request = TestRequest::get().uri(path).insert_header(authorization).to_request();
    let response = harness::call_service(app, request).await;
    let status = response.status().as_u16();
    let body = body::to_bytes(response.into_body()).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn no_generated_token_is_judged_by_the_rules_of_another_issuer() {
    let system = System::new();
    let world = World::start();
    let seen = [0, 1, 2].map(|_| AtomicUsize::new(0));
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) });
    let outcome = runner.run(&case(), |case| {
        let token = case.token(&world);
        let protect = case.protect(&world, &token);
        let path = format!("/{}/{}", if case.requires_scope { "read" } else { "open" }, case.path);
        let before = world.introspections();
        let answers = system.block_on(async {
            let inner =
                web::scope("/read").wrap(protect.scopes(["read"])).route("/{issuer}", web::get().to(issuer));
            let app = App::new().wrap(protect).service(inner).route("/open/{issuer}", web::get().to(issuer));
            let app = harness::init_service(app).await;
            // The second answer is from caches.
            [answer(&app, &path, &token).await, answer(&app, &path, &token).await]
        });
        let (status, judge) = case.expected();
        for (found, body) in answers {
            prop_assert_eq!(found, status);
            if let Some(judge) = judge {
                prop_assert_eq!(body, world.issuers[judge].issuer());
            }
        }
        // No other issuer sees the token.
        let mut candidates = case.candidates();
        if let Some(at) = candidates.iter().position(|index| *index == case.signer) {
            candidates.truncate(at + 1);
        }
        for (index, (now, then)) in world.introspections().into_iter().zip(before).enumerate() {
            prop_assert!(now == then || candidates.contains(&index), "issuer {} was called", index);
        }
        let kind = [200, 401, 403].iter().position(|kind| *kind == status).unwrap();
        seen[kind].fetch_add(1, Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(
        seen.iter().all(|count| count.load(Relaxed) >= 5),
        "200, 401 and 403 must be among the cases: {seen:?}"
    );
}

/// A JWT with this `iss`, and the header and signature of a good token.
fn with_issuer(good: &str, issuer: &str) -> String {
    let parts: Vec<_> = good.split('.').collect();
    let payload = json!({ "iss": issuer, "aud": AUDIENCES[0], "sub": "alice", "exp": 4_000_000_000_u64 });
    format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(payload.to_string()), parts[2])
}

#[actix_web::test]
async fn a_flood_of_unknown_issuers_causes_no_call_and_no_state() {
    const FLOOD: usize = 10_000;
    let issuers = [0, 1, 2].map(|index: usize| TestIssuer::builder().audience(AUDIENCES[index]).start());
    let clock = TestClock::new();
    let apis = issuers.each_ref().map(|issuer| introspecting(issuer).clock(clock.clone()).build().unwrap());
    let resolved = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&resolved);
    let resolve = move |_: String| -> Pin<Box<dyn Future<Output = _>>> {
        counter.fetch_add(1, Relaxed);
        Box::pin(async { Ok(None) })
    };
    // The application passes the `iss` on as it is, which is the worst case.
    let name = |request: TenantRequest<'_>| request.issuer.map(str::to_owned);
    let fixed = ProtectApi::any_of(apis.clone()).opaque_in_order(&apis).build().unwrap();
    let tenants = ProtectApi::any_of(apis).tenants(name, resolve).build().unwrap();
    let serve = async |protect: &ProtectApi| {
        harness::init_service(App::new().wrap(protect.clone()).route("/", web::get().to(issuer))).await
    };
    let (fixed_app, tenants_app) = (serve(&fixed).await, serve(&tenants).await);

    let calls = || -> usize {
        let endpoints = [
            Endpoint::Discovery,
            Endpoint::AuthorizationServerMetadata,
            Endpoint::Jwks,
            Endpoint::Introspection,
            Endpoint::Other,
        ];
        issuers.iter().flat_map(|issuer| endpoints.map(|endpoint| issuer.count(endpoint))).sum()
    };
    let good = issuers[0].jwt(json!({}));
    let long = "x".repeat(300);
    for number in 0..FLOOD {
        let invented = match number % 4 {
            0 => format!("https://{number}.example.test"),
            1 => format!("{}/{number}", issuers[0].issuer()),
            2 => format!("{number}"),
            _ => format!("https://{number}.example.test/{long}"),
        };
        let token = with_issuer(&good, &invented);
        assert_eq!(answer(&fixed_app, "/", &token).await.0, 401, "{invented}");
        assert_eq!(answer(&tenants_app, "/", &token).await.0, 401, "{invented}");
    }
    assert_eq!(calls(), 0, "calls to the authorization servers");
    assert!(issuers.iter().all(|issuer| issuer.connections() == 0), "connections to them");
    assert_eq!((fixed.statuses().len(), tenants.statuses().len()), (ISSUERS, ISSUERS), "states");
    // A name that is too long is unknown without the resolver, each other one is resolved once.
    assert_eq!(resolved.load(Relaxed), FLOOD / 4 * 3);
    let repeated = with_issuer(&good, "https://9996.example.test");
    for _ in 0..10 {
        assert_eq!(answer(&tenants_app, "/", &repeated).await.0, 401);
    }
    assert_eq!(resolved.load(Relaxed), FLOOD / 4 * 3, "an unknown name is cached");

    for app in [&fixed_app, &tenants_app] {
        for issuer in &issuers {
            let token = issuer.jwt(json!({}));
            assert_eq!(answer(app, "/", &token).await, (200, issuer.issuer().to_owned()), "after the flood");
        }
    }
}
