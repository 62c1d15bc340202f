//! The state that all mounts, clones and workers of one configuration share.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use actix_web::web;

#[cfg(feature = "rustls")]
use crate::issuer::{http::Tls, tls};
use crate::{
    clock::Clock,
    issuer::http::{WorkerClient, client_with},
    policy::TrialPhase,
    protect_api::{Mount, mounts::Mounts, summary::Summary},
    redact::UrlText,
    response::{RejectionBuilder, challenge::Challenge},
    revocation::SeenEvents,
    settings::{Hooks, Settings},
    telemetry::Telemetry,
    validator::Validator,
};

#[derive(Debug)]
pub(crate) struct State {
    /// Identifies the configuration, to compare the mounts of one request and the clients of one worker.
    pub(crate) id: u64,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) settings: Settings,
    pub(crate) hooks: Hooks,
    pub(crate) rejections: RejectionBuilder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) validator: Arc<Validator>,
    pub(crate) mounts: Mounts,
    pub(crate) seen_events: SeenEvents,
    /// Whether the record of the configuration was logged.
    is_logged: AtomicBool,
    #[cfg(feature = "rustls")]
    tls: std::sync::OnceLock<Tls>,
}

/// All configurations of this process that are in use, also those of cached tenants. Each `build` compares its settings with
/// them while it holds the lock: at start-up, and each time when a tenant is resolved. Requests of a resolved tenant do not
/// lock it. Most comparisons end at the issuer, which is the first field.
static REGISTRY: Mutex<Vec<Weak<State>>> = Mutex::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl State {
    /// Returns the state of an equal configuration, or creates one. Therefore `ProtectApi::from_env()` inside the
    /// closure that every worker runs shares as much as one clone per worker.
    pub(crate) fn obtain(settings: Settings, hooks: Hooks) -> Arc<Self> {
        // No code panics while it holds the lock. Even after a panic the list would be valid.
        let mut alive = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        alive.retain(|state| state.strong_count() > 0);
        let equal = |state: &Arc<Self>| state.settings == settings && state.hooks.same(&hooks);
        if let Some(state) = alive.iter().filter_map(Weak::upgrade).find(equal) {
            return state;
        }
        let state = Arc::new(Self::new(settings, hooks));
        alive.push(Arc::downgrade(&state));
        state
    }

    /// Logs the configuration of an API, once.
    pub(crate) fn log_configured(&self) {
        if self.is_logged.swap(true, Ordering::Relaxed) {
            return;
        }
        Summary::new(&self.settings, &self.hooks).log();
        if let Some(trial) = &self.settings.trial {
            let issuer = self.settings.issuer.as_str();
            let date = &trial.date;
            let effect = match trial.phase(self.clock.unix_time()) {
                TrialPhase::Reported if trial.ends => {
                    format!("are reported until {date}, and have no effect from then on")
                }
                TrialPhase::Reported => format!("are reported until {date}, and enforced from then on"),
                TrialPhase::Enforced => format!("are enforced since {date}"),
                TrialPhase::Ended => format!("have no effect since {date}"),
            };
            record!(
                log::Level::Warn, event = "report_only", issuer;
                "the rules of the trial ({trial}) {effect} ({issuer})"
            );
        }
    }

    /// Adds a mount that was built. Warns once if its requirements are not enforced.
    pub(crate) fn add_mount(&self, mount: &Arc<Mount>) {
        if self.mounts.add(mount) && mount.is_report_only {
            let issuer = self.settings.issuer.as_str();
            record!(
                log::Level::Warn, event = "report_only", issuer;
                "a mount reports its requirements and does not enforce them: {mount} ({issuer})"
            );
        }
    }

    /// Returns whether calls need the hardened client of this configuration, also if the app data contains another client.
    pub(crate) fn needs_own_client(&self) -> bool {
        self.uses_mtls() || self.settings.network.needs_own_client()
    }

    fn uses_mtls(&self) -> bool {
        self.settings.client.as_ref().is_some_and(|client| client.authentication.uses_mtls())
    }

    /// Returns whether the client of another configuration makes the same connections.
    pub(crate) fn shares_client(&self, other: &Self) -> bool {
        !self.uses_mtls() && !other.uses_mtls() && self.settings.network == other.settings.network
    }

    /// Returns this worker's hardened client. It presents the client certificate if the authentication method
    /// requires one.
    pub(crate) fn worker_client(&self) -> WorkerClient {
        WorkerClient::get_or_create(self.id, || self.client())
    }

    /// Returns the hardened client of this thread, for calls without a mount.
    pub(crate) fn thread_client(&self) -> awc::Client {
        self.thread_client_or(None)
    }

    /// Returns the client of the application, or the hardened client of this thread if there is none or if its settings are
    /// needed.
    pub(crate) fn thread_client_or(&self, given: Option<&web::Data<awc::Client>>) -> awc::Client {
        match given.filter(|_| !self.needs_own_client()) {
            Some(given) => given.get_ref().clone(),
            None => WorkerClient::get_or_keep(self.id, || self.client()).choose(true, None),
        }
    }

    #[cfg(feature = "rustls")]
    fn client(&self) -> awc::Client {
        // All workers use one configuration, so that they resume each other's sessions.
        let tls = self.tls.get_or_init(|| {
            let identity = self.settings.client.as_ref().and_then(|client| client.authentication.identity());
            // Without TLS the server still starts, and introspection over TLS is rejected with 503.
            let config = tls::client_config_with(&self.settings.network.roots, identity);
            config.inspect_err(
                |error| record!(log::Level::Error, event = "no_tls"; "no TLS to the authorization server: {error}"),
            ).ok()
        });
        client_with(tls.clone(), self.settings.network.proxy.clone())
    }

    #[cfg(not(feature = "rustls"))]
    fn client(&self) -> awc::Client {
        client_with(self.settings.network.proxy.clone())
    }

    fn new(settings: Settings, hooks: Hooks) -> Self {
        let clock = hooks.clock();
        let telemetry = Telemetry::new(settings.issuer.as_str(), Arc::clone(&clock));
        let challenge = Challenge::new(
            settings.tuning.realm.as_deref(),
            settings.tuning.resource_metadata.as_ref().map(UrlText::as_str),
        );
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            is_logged: AtomicBool::new(false),
            #[cfg(feature = "rustls")]
            tls: std::sync::OnceLock::new(),
            validator: Arc::new(Validator::new(&settings, &hooks, &clock, &telemetry)),
            rejections: RejectionBuilder::new(challenge, hooks.renderer.clone())
                .with_telemetry(Arc::clone(&telemetry))
                .with_visible_reference(settings.tuning.error_reference)
                .with_scope_error_for_groups(settings.tuning.insufficient_scope_for_groups),
            mounts: Mounts::default(),
            seen_events: SeenEvents::default(),
            telemetry,
            clock,
            settings,
            hooks,
        }
    }
}
