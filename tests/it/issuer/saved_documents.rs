//! Metadata and keys in a directory, for a start while the authorization server cannot be reached.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use actix_protect_api::{
    ProtectApi, ProtectApiBuilder, ResolverError, SetupFault, TokenFault, UpstreamFault,
    test::{Algorithm, Endpoint, Fault, Rotation, TestClock, TestIssuer, TestKey},
};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::support::{
    folder::Folder,
    logs,
    service::{Api, OK, Outcome, api, introspecting, jwts_only, setup, timed_issuer, token, upstream},
    spans::Recording,
    time::{eventually, seconds},
};

const UNREACHABLE: Outcome = upstream(UpstreamFault::Failing);

/// An issuer, and a directory.
struct World {
    issuer: TestIssuer,
    clock: TestClock,
    folder: Folder,
    starts: std::cell::Cell<u32>,
}

impl World {
    /// Fetches the documents once, and waits until they are saved.
    async fn with_saved_documents() -> Self {
        logs::capture();
        let (issuer, clock) = timed_issuer();
        let this = Self { issuer, clock, folder: Folder::new(), starts: std::cell::Cell::new(0) };
        let first = this.start(introspecting(&this.issuer)).await;
        assert_eq!(first.outcome(&this.issuer.jwt(json!({}))).await, OK);
        assert!(eventually(async || this.files().len() == 2).await, "{:?}", this.files());
        this
    }

    /// Starts an API with a separate state, as another process would have it.
    async fn start(&self, builder: ProtectApiBuilder) -> Api {
        self.starts.set(self.starts.get() + 1);
        let builder = builder.realm(self.starts.get().to_string()).clock(self.clock.clone());
        api(builder.document_directory(self.folder.path(""))).await
    }

    /// The saved files, without those that are being written.
    fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path("")).unwrap().map(|file| file.unwrap().path());
        let is_saved = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        let mut files: Vec<_> = files.filter(is_saved).collect();
        files.sort();
        files
    }

    /// The file of the key set, and that of the metadata.
    fn keys_and_metadata(&self) -> [PathBuf; 2] {
        self.files().try_into().unwrap()
    }

    /// The authorization server fails with 503.
    fn fail(&self) {
        for endpoint in [
            Endpoint::Discovery,
            Endpoint::AuthorizationServerMetadata,
            Endpoint::Jwks,
            Endpoint::Introspection,
        ] {
            self.issuer.fault(endpoint, Fault::status(503).always());
        }
    }

    fn last_record(&self, event: &str) -> Option<logs::Record> {
        logs::last(|record| record.value("event") == event && record.value("issuer") == self.issuer.issuer())
    }
}

#[actix_web::test]
async fn saved_documents_are_used_if_the_server_cannot_be_reached_at_the_start() {
    let world = World::with_saved_documents().await;
    let issuer = &world.issuer;
    for path in world.files() {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    world.fail();
    let without = api(introspecting(issuer).realm("none").clock(world.clock.clone())).await;
    assert_eq!(without.outcome(&issuer.jwt(json!({}))).await, UNREACHABLE);

    world.clock.advance(seconds(600));
    let api = world.start(introspecting(issuer)).await;
    for _ in 0..3 {
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    }
    let record = world.last_record("document_restored").unwrap();
    assert_eq!((record.value("call"), record.value("age")), ("key_set", "600"), "{record}");
    // An opaque token still needs the server: its endpoint is known.
    let before = issuer.count(Endpoint::Introspection);
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, UNREACHABLE);
    assert!(issuer.count(Endpoint::Introspection) > before);
    // A key that is not in the saved set may be new.
    issuer.rotate_keys(Rotation::Replace);
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, UNREACHABLE);
    // The server works again: the documents are fetched after the pause.
    issuer.clear_faults();
    world.clock.advance(seconds(5));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
}

#[actix_web::test]
async fn saved_documents_end_at_max_stale_after_they_were_fetched() {
    let world = World::with_saved_documents().await;
    world.fail();
    let old = world.issuer.jwt(json!({ "exp": 4_000_000_000_u32 }));
    world.clock.advance(seconds(3500));
    let api = world.start(jwts_only(&world.issuer)).await;
    assert_eq!(api.outcome(&old).await, OK);
    // The process has run for less than `max_stale`.
    world.clock.advance(seconds(200));
    assert_eq!(api.outcome(&old).await, UNREACHABLE);
    let later = world.start(jwts_only(&world.issuer)).await;
    assert_eq!(later.outcome(&old).await, UNREACHABLE);
    let record = world.last_record("document_refused").unwrap();
    assert!(record.text.contains("3700 s ago, expected at most 3600 s"), "{record}");
}

#[actix_web::test]
async fn a_server_that_responds_is_believed() {
    let world = World::with_saved_documents().await;
    let issuer = &world.issuer;
    // New keys are fetched, although there are saved ones.
    let old = issuer.jwt(json!({}));
    issuer.rotate_keys(Rotation::Replace);
    let api = world.start(jwts_only(issuer)).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(api.outcome(&old).await, token(TokenFault::UnknownKey));
    // A response that is wrong is no outage.
    issuer.set_served(Endpoint::Jwks, false);
    let api = world.start(jwts_only(issuer)).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, upstream(UpstreamFault::BadAnswer));
}

#[actix_web::test]
async fn a_file_that_others_may_have_changed_is_not_used() {
    let world = World::with_saved_documents().await;
    let issuer = &world.issuer;
    let [keys, metadata] = world.keys_and_metadata();
    let [good_keys, good_metadata] = [&keys, &metadata].map(|path| fs::read_to_string(path).unwrap());
    world.fail();
    let changed = |text: &str, name: &str, value: Value| {
        let mut content: Value = serde_json::from_str(text).unwrap();
        content[name] = value;
        content.to_string()
    };
    let foreign = TestKey::generate(Algorithm::ES256, "foreign").private_jwk().to_string();
    let other_issuer =
        json!(
            [json!({ "issuer": "https://other.example", "jwks_uri": "https://other.example" }).to_string()]
        );
    let now = actix_protect_api::Clock::unix_time(&world.clock);
    for (path, text, reason) in [
        (&keys, "hunter2".to_owned(), "its content is not that of a saved document"),
        (&keys, foreign, "its content is not that of a saved document"),
        (&keys, changed(&good_keys, "issuer", json!("https://other.example")), "another issuer or URL"),
        (&keys, changed(&good_keys, "url", json!("https://other.example")), "another issuer or URL"),
        (&keys, changed(&good_keys, "documents", json!([])), "no key set"),
        (&keys, changed(&good_keys, "documents", json!(["hunter2"])), "JSON"),
        (&keys, changed(&good_keys, "fetched_at", json!(now + 1000)), "its time is in the future"),
        (&keys, changed(&good_keys, "fetched_at", json!(i64::MIN)), "expected at most 3600 s"),
        (&keys, "x".repeat(13 * 1024 * 1024), "expected a regular file"),
        (&metadata, changed(&good_metadata, "documents", other_issuer), "names another issuer"),
        (&metadata, changed(&good_metadata, "documents", json!([])), "no metadata"),
    ] {
        fs::write(path, &text).unwrap();
        let api = world.start(jwts_only(issuer)).await;
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, UNREACHABLE, "{reason}");
        let record = world.last_record("document_refused").unwrap();
        assert!(record.text.contains(reason), "{reason}: {record}");
        assert!(!record.text.contains("hunter2"), "{record}");
        fs::write(&keys, &good_keys).unwrap();
        fs::write(&metadata, &good_metadata).unwrap();
    }
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o660)).unwrap();
    let api = world.start(jwts_only(issuer)).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, UNREACHABLE);
    assert!(world.last_record("document_refused").unwrap().text.contains("other users can write it"));
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    let api = world.start(jwts_only(issuer)).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
}

#[actix_web::test]
async fn saved_metadata_ends_at_max_stale_and_is_fetched_again_before() {
    let world = World::with_saved_documents().await;
    let issuer = &world.issuer;
    let opaque = issuer.opaque(json!({ "exp": 4_000_000_000_u32 }));
    let discovery = [Endpoint::Discovery, Endpoint::AuthorizationServerMetadata];
    let fail = || discovery.map(|endpoint| issuer.fault(endpoint, Fault::status(503).always()));
    fail();
    world.clock.advance(seconds(600));
    let api = world.start(introspecting(issuer)).await;
    assert_eq!(api.outcome(&opaque).await, OK);
    let record = world.last_record("document_restored").unwrap();
    assert_eq!((record.value("call"), record.value("age")), ("metadata", "600"), "{record}");
    // The process has run for less than `max_stale`.
    world.clock.advance(seconds(2990));
    assert_eq!(api.outcome(&opaque).await, OK);
    world.clock.advance(seconds(20));
    assert_eq!(api.outcome(&opaque).await, UNREACHABLE);

    issuer.clear_faults();
    world.clock.advance(seconds(5));
    assert_eq!(api.outcome(&opaque).await, OK);
    fail();
    let api = world.start(introspecting(issuer)).await;
    assert_eq!(api.outcome(&opaque).await, OK);
    issuer.clear_faults();
    let fetched = issuer.count(Endpoint::Discovery);
    world.clock.advance(seconds(5));
    assert_eq!(api.outcome(&opaque).await, OK);
    assert!(eventually(async || issuer.count(Endpoint::Discovery) > fetched).await);
}

/// The last good documents are in memory, and the files may contain others.
#[actix_web::test]
async fn a_later_failure_needs_no_file() {
    let world = World::with_saved_documents().await;
    let issuer = &world.issuer;
    let [keys, metadata] = world.keys_and_metadata();
    let [old_keys, known] = [&keys, &metadata].map(|path| fs::read_to_string(path).unwrap());
    issuer.rotate_keys(Rotation::Replace);
    let api = world.start(introspecting(issuer)).await;
    let tokens = [issuer.jwt(json!({})), issuer.opaque(json!({}))];
    for token in &tokens {
        assert_eq!(api.outcome(token).await, OK);
    }
    assert!(eventually(async || fs::read_to_string(&keys).unwrap() != old_keys).await);
    fs::write(&keys, old_keys).unwrap();
    fs::write(&metadata, known.replace("/introspect", "/elsewhere")).unwrap();
    for endpoint in [Endpoint::Discovery, Endpoint::AuthorizationServerMetadata, Endpoint::Jwks] {
        issuer.fault(endpoint, Fault::status(503).always());
    }
    for _ in 0..3 {
        world.clock.advance(seconds(400));
        for token in &tokens {
            assert_eq!(api.outcome(token).await, OK);
        }
    }
    assert!(world.last_record("document_restored").is_none());
}

/// Such an endpoint was not published to this process.
#[actix_web::test]
async fn an_endpoint_of_a_file_is_not_the_last_good_one() {
    let world = World::with_saved_documents().await;
    let issuer = &world.issuer;
    let opaque = issuer.opaque(json!({}));
    for endpoint in [Endpoint::Discovery, Endpoint::AuthorizationServerMetadata] {
        issuer.fault(endpoint, Fault::status(503).always());
    }
    let api = world.start(introspecting(issuer)).await;
    assert_eq!(api.outcome(&opaque).await, OK);
    issuer.clear_faults();
    issuer.set_metadata(|mut metadata| {
        metadata["introspection_endpoint"] = json!("http://as.example/introspect");
        metadata
    });
    world.clock.advance(seconds(5));
    let insecure = setup(SetupFault::InsecureEndpoint);
    assert!(eventually(async || api.outcome(&opaque).await == insecure).await);
}

#[actix_web::test]
async fn incomplete_metadata_and_documents_of_the_application_are_not_saved() {
    logs::capture();
    let (issuer, clock) = timed_issuer();
    let mut complete = Value::Null;
    issuer.set_metadata(|mut metadata| {
        complete = metadata.clone();
        metadata["introspection_endpoint"] = Value::Null;
        metadata
    });
    issuer.fault(Endpoint::AuthorizationServerMetadata, Fault::status(503).always());
    let world = World { issuer, clock, folder: Folder::new(), starts: std::cell::Cell::new(0) };
    let issuer = &world.issuer;
    let is_saved = async |kind: &str| {
        let is_kind = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(kind);
        eventually(async || !world.files().is_empty()).await && world.files().iter().all(is_kind)
    };
    let incomplete = world.start(introspecting(issuer)).await;
    assert_eq!(incomplete.outcome(&issuer.jwt(json!({}))).await, OK);
    assert!(is_saved("key_set").await, "{:?}", world.files());

    // A resolver returns the metadata. Its failure is no reason to use the metadata of a file.
    let resolver = move || {
        let document = complete.clone();
        async move { Ok(document) }
    };
    let given = world.start(introspecting(issuer).metadata_resolver(resolver)).await;
    assert_eq!(given.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(given.outcome(&issuer.jwt(json!({}))).await, OK);
    assert!(is_saved("key_set").await, "{:?}", world.files());
    issuer.clear_faults();
    let second = world.start(introspecting(issuer)).await;
    assert_eq!(second.outcome(&issuer.jwt(json!({}))).await, OK);
    assert!(eventually(async || world.files().len() == 2).await);
    let failing = || async { Err::<Value, ResolverError>("down".into()) };
    let failing = world.start(introspecting(issuer).metadata_resolver(failing)).await;
    let outcome = failing.outcome(&issuer.jwt(json!({}))).await;
    assert_eq!(outcome, upstream(UpstreamFault::Unreachable));
}

#[actix_web::test]
async fn the_span_of_a_failed_fetch_shows_it_although_a_file_is_used() {
    let world = World::with_saved_documents().await;
    world.fail();
    let recording = Recording::start(LevelFilter::INFO);
    let api = world.start(jwts_only(&world.issuer)).await;
    assert_eq!(api.outcome(&world.issuer.jwt(json!({}))).await, OK);
    let fetches = recording.named("fetch");
    assert_eq!(fetches.len(), 2);
    for fetch in fetches {
        let seen = ["outcome", "status", "otel.status_code"].map(|name| fetch.value(name));
        assert_eq!(seen, ["failing", "503", "ERROR"]);
    }
}

/// Some servers have the introspection endpoint in a second document.
#[actix_web::test]
async fn all_documents_of_the_metadata_are_saved() {
    logs::capture();
    let (issuer, clock) = timed_issuer();
    let endpoint = issuer.url(Endpoint::Introspection);
    issuer.set_metadata(|mut metadata| {
        metadata["introspection_endpoint"] = Value::Null;
        metadata
    });
    let mut second = Value::Null;
    issuer.set_metadata(|metadata| {
        second = metadata.clone();
        metadata
    });
    second["introspection_endpoint"] = endpoint.into();
    issuer.fault(Endpoint::AuthorizationServerMetadata, Fault::body(second.to_string()).always());
    let world = World { issuer, clock, folder: Folder::new(), starts: std::cell::Cell::new(0) };
    let issuer = &world.issuer;
    let opaque = issuer.opaque(json!({}));
    let first = world.start(introspecting(issuer)).await;
    assert_eq!(first.outcome(&opaque).await, OK);
    assert!(eventually(async || world.files().len() == 1).await);
    for endpoint in [Endpoint::Discovery, Endpoint::AuthorizationServerMetadata] {
        issuer.fault(endpoint, Fault::status(503).always());
    }
    let second = world.start(introspecting(issuer)).await;
    assert_eq!(
        second.outcome(&opaque).await,
        OK,
        "{:?}",
        logs::records()
            .iter()
            .filter(|r| r.value("issuer") == issuer.issuer())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
}

#[actix_web::test]
async fn a_directory_that_cannot_be_written_costs_no_request() {
    cannot_be_written().await;
}

async fn cannot_be_written() {
    logs::capture();
    let (issuer, folder) = (TestIssuer::start(), Folder::new());
    let directory = folder.path("documents");
    fs::create_dir(&directory).unwrap();
    let api = api(jwts_only(&issuer).document_directory(&directory)).await;
    fs::remove_dir(&directory).unwrap();
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    let is_it = |record: &logs::Record| {
        record.value("event") == "document_not_saved" && record.value("issuer") == issuer.issuer()
    };
    assert!(eventually(async || logs::last(is_it).is_some()).await);
}

#[test]
fn the_directory_must_exist() {
    let issuer = TestIssuer::start();
    let read = |path: &str| {
        let own = [("MONOCLOUD_BACKEND_DOCUMENT_DIRECTORY".to_owned(), path.to_owned())];
        ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", issuer.variables().into_iter().chain(own))
    };
    let error = read("/nowhere/at/all").unwrap_err();
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!(problem.name, "MONOCLOUD_BACKEND_DOCUMENT_DIRECTORY");
    assert_eq!(problem.message, "is /nowhere/at/all, expected an existing directory");
    assert!(read(&Folder::new().path("")).is_ok());
}

/// Causes each log record of saved documents, at each level.
pub(crate) async fn every_record_of_saved_documents() {
    let world = World::with_saved_documents().await;
    world.fail();
    let restored = world.start(jwts_only(&world.issuer)).await;
    assert_eq!(restored.outcome(&world.issuer.jwt(json!({}))).await, OK);
    for path in world.files() {
        fs::write(path, "broken").unwrap();
    }
    let refused = world.start(jwts_only(&world.issuer)).await;
    for _ in 0..2 {
        assert_eq!(refused.outcome(&world.issuer.jwt(json!({}))).await, UNREACHABLE);
        world.clock.advance(seconds(2));
    }
    cannot_be_written().await;
}
