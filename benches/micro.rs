//! The steps of a request one by one, and the whole way of a request whose token is known. See `benches/README.md`.
#![expect(clippy::expect_used, reason = "a benchmark stops where something is not as it expects")]

mod support;

use std::hint::black_box;

use actix_protect_api::{
    bench::{CachedVerdicts, PublishedKeys, Refusal, Tagger, find_token},
    mcp::Tools,
    test::{Algorithm, TestIssuer},
};
use actix_web::{App, HttpResponse, dev::Service as _, test::init_service, web};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use jsonwebtoken::{DecodingKey, Validation, jwk::JwkSet};
use serde::Deserialize;

criterion_group!(benches, steps, warm, tools, first_sight);
criterion_main!(benches);

fn steps(criterion: &mut Criterion) {
    let issuer = TestIssuer::start();
    let kept = CachedVerdicts::new(issuer.issuer(), "http://127.0.0.1/introspect", "api");
    let tagger = Tagger::new().expect("randomness");
    let (short, long) = (support::opaque(&issuer), support::jwt(&issuer, Algorithm::RS256));
    for (name, token) in [("42 B", &short), ("1 KB", &long)] {
        let request = support::request(token);
        criterion.bench_with_input(
            BenchmarkId::new("bearer", name),
            request.headers(),
            |bencher, headers| {
                bencher.iter(|| find_token(black_box(headers)));
            },
        );
        criterion.bench_with_input(BenchmarkId::new("digest", name), token, |bencher, token| {
            bencher.iter(|| kept.key(black_box(token)));
        });
        criterion.bench_with_input(BenchmarkId::new("tag", name), token, |bencher, token| {
            bencher.iter(|| tagger.tag(black_box(token)));
        });
    }
    let claims = support::claims_of(&issuer, &long);
    for number in 0..1000 {
        kept.insert(kept.key(&format!("token-{number}")), &claims);
    }
    let (known, unknown) = (kept.key("token-7"), kept.key("token-of-nobody"));
    criterion.bench_function("cache/hit", |bencher| bencher.iter(|| kept.get(black_box(&known))));
    criterion.bench_function("cache/miss", |bencher| bencher.iter(|| kept.get(black_box(&unknown))));

    let (way, _) = support::warm(support::caching_api(&issuer), &short);
    assert!(way.allows(&claims), "the policy refuses");
    criterion.bench_function("policy", |bencher| bencher.iter(|| way.allows(black_box(&claims))));
    let refusal = Refusal::new("api");
    criterion.bench_function("challenge", |bencher| bencher.iter(|| black_box(&refusal).challenge()));
}

/// An MCP message through an app, with and without scopes per tool. The difference is the cost of the guard.
fn tools(criterion: &mut Criterion) {
    let issuer = TestIssuer::start();
    let token = support::opaque(&issuer);
    let protect = support::caching_api(&issuer).build().expect("a configuration").scopes(["read"]);
    let tools = Tools::new().tool("write_document", ["write"]).other_tools(["read"]);
    let system = actix_web::rt::System::new();
    let post = || web::post().to(|body: web::Bytes| async move { HttpResponse::Ok().body(body) });
    let mount = App::new().wrap(protect.clone()).route("/", post());
    let guarded = App::new().wrap(protect.per_tool(tools)).route("/", post());
    let (mount, guarded) =
        system.block_on(async { (init_service(mount).await, init_service(guarded).await) });
    let request = || support::tool_call(&token).to_request();
    let mut group = criterion.benchmark_group("mcp");
    group.bench_function("mount", |bencher| {
        bencher.iter_batched(request, |request| system.block_on(mount.call(request)), BatchSize::SmallInput);
    });
    group.bench_function("scopes per tool", |bencher| {
        bencher.iter_batched(
            request,
            |request| system.block_on(guarded.call(request)),
            BatchSize::SmallInput,
        );
    });
}

fn warm(criterion: &mut Criterion) {
    let issuer = TestIssuer::start();
    let (short, long) = (support::opaque(&issuer), support::jwt(&issuer, Algorithm::RS256));
    let cases = [
        ("opaque, 42 B", support::warm(support::caching_api(&issuer), &short)),
        (
            "JWT introspected, 1 KB",
            support::warm(support::caching_api(&issuer).introspect_jwt_tokens(true), &long),
        ),
        ("JWT remembered, 1 KB", support::warm(support::caching_api(&issuer), &long)),
    ];
    for (name, (way, request)) in &cases {
        criterion.bench_with_input(BenchmarkId::new("warm", name), request, |bencher, request| {
            bencher.iter(|| way.accepts(black_box(request)).now_or_never().expect("nothing to wait for"));
        });
    }
}

fn first_sight(criterion: &mut Criterion) {
    let issuer = TestIssuer::start();
    let mut group = criterion.benchmark_group("JWT at first sight");
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let token = support::jwt(&issuer, algorithm);
        let document = issuer.jwks().to_string();
        let (way, _) = support::warm(support::caching_api(&issuer), &token);
        let keys = PublishedKeys::parse(document.as_bytes()).expect("keys");
        let ours = || keys.verify(black_box(&token)).is_some_and(|claims| way.allows(&claims));
        assert!(ours(), "the token is refused");
        group.bench_function(BenchmarkId::new("ours", algorithm.name()), |bencher| bencher.iter(ours));

        let (key, validation) = by_jsonwebtoken(&issuer, &document, algorithm);
        let theirs = || jsonwebtoken::decode::<TheirClaims>(black_box(&token), &key, &validation);
        theirs().expect("the token is refused");
        group.bench_function(BenchmarkId::new("jsonwebtoken", algorithm.name()), |bencher| {
            bencher.iter(|| theirs().expect("the token is refused"));
        });
    }
}

/// The claims that a handler usually reads.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only read from JSON")]
struct TheirClaims {
    sub: String,
    iss: String,
    exp: i64,
    client_id: String,
    scope: String,
    groups: Vec<String>,
}

fn by_jsonwebtoken(issuer: &TestIssuer, document: &str, algorithm: Algorithm) -> (DecodingKey, Validation) {
    let set: JwkSet = serde_json::from_str(document).expect("a key set");
    let jwk = set.find(issuer.key(algorithm).kid()).expect("the key");
    let mut validation = Validation::new(algorithm.name().parse().expect("an algorithm that it knows"));
    validation.set_issuer(&[issuer.issuer()]);
    validation.set_audience(&[issuer.audience()]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    (DecodingKey::from_jwk(jwk).expect("a key"), validation)
}
