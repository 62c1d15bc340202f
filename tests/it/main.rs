//! The integration tests, one binary, grouped by subject. `tests/README.md` maps the sections of the RFCs to tests.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot continue must fail at that place"
)]

mod support;

/// The request: where the token is, and which paths are protected.
mod request {
    mod bearer;
    mod mount_resolvers;
    mod public_paths;
    mod token_resolver;
}

/// The validation of JWTs.
mod jwt {
    mod algorithms;
    mod validation;
}

/// Introspection: calls, cached verdicts, and limits under load.
mod introspection {
    mod cache;
    mod calls;
    pub(crate) mod circuit_breaker;
    mod outage_grace;
    mod refresh_ahead;
    mod request_fields;
    mod single_flight;
    mod waiting;
}

/// Metadata of the issuer, and HTTP calls to it.
mod issuer {
    mod discovery;
    mod documents;
    mod framing;
    mod hardened_client;
    mod metadata;
    mod network;
    mod proxy;
    pub(crate) mod saved_documents;
}

/// Mounts, requirements, extractors and guards.
mod authorization {
    mod challenges;
    mod explanation;
    mod extractors;
    mod grants;
    mod guards;
    mod issuer_routing;
    mod mounts;
    pub(crate) mod report_only;
    mod requirements;
    mod several_issuers;
    mod step_up;
    mod validated_token;
    mod vendors;
}

/// MCP servers.
mod mcp {
    pub(crate) mod tool_scopes;
}

/// Revoked tokens.
mod revocation {
    mod leases;
    mod logout;
    mod poll;
    mod push;
    mod records;
    pub(crate) mod sources;
    mod streams;
    mod webhook;
}

/// Responses to rejected requests.
mod response {
    mod clients;
    mod cors;
    mod errors;
    mod resource_metadata;
}

/// Settings from the environment and from the builder.
mod settings {
    mod builder;
    mod from_env;
    mod parties;
    mod variables;
}

/// Log records, metrics and the status.
mod telemetry {
    mod metrics;
    mod monitoring;
    mod page;
    mod readiness;
    mod secrecy;
    mod spans;
    mod status;
}

/// Rules for the sources and for the documentation.
mod project {
    mod commands;
    mod guide;
    pub(crate) mod import_rules;
    mod migration;
    mod on_call;
    mod readme;
    mod rfc_table;
}

mod servers;
mod shared_store;
mod test_issuer;
mod troubleshooting;
