//! Events that are fetched from the transmitter (RFC 8936).

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    thread,
    time::{Duration, Instant},
};

use actix_web::{http::header::HeaderValue, rt, web::Bytes};
use futures_util::future::select;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{
    panic_with,
    poll_response::{MAX_EVENTS, PolledEvents},
    receiver::Receiver,
    reply,
    ssf::Ssf,
};
use crate::{
    error::{AuthError, AuthErrorKind, SetupFault, UpstreamFault},
    issuer::http::{self, CallLimits, bad_answer},
    protect_api::ProtectApi,
    settings::{EndpointUrl, Traceparent},
    telemetry::{EventSource, log_throttle::LogThrottle},
};

/// The longest time for which the transmitter may hold a poll. Many proxies close a connection without data after a minute.
const LONG_POLL: Duration = Duration::from_secs(55);

/// The longest response, in bytes.
const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// The pause after the first failure. It doubles after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Polls a transmitter until it is dropped; see [`ProtectApi::ssf_poll`].
#[must_use = "the transmitter is polled until it is dropped"]
pub struct SsfPoll {
    /// Dropping the sender stops the thread.
    _stop: oneshot::Sender<()>,
}

impl fmt::Debug for SsfPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SsfPoll")
    }
}

impl ProtectApi {
    /// Polls this endpoint of a transmitter for security event tokens (RFC 8936), and revokes the tokens that they concern. The
    /// [guide](crate::guide::revocation) lists the events and their effects.
    ///
    /// One thread polls until the returned value is dropped, so call this once per process and not once per worker. The
    /// transmitter may hold a poll for 55 s. After a failure, the pause grows from 1 s to 60 s. An event is acknowledged after
    /// its revocation is in effect. If it cannot be applied, it is not acknowledged, and the transmitter sends it again. A
    /// response of more than 4 MiB is a failure, and at most 100 events of one are read.
    ///
    /// A transmitter gives each event to one poll only. If several processes poll one stream, each process gets a part of the
    /// events: use one stream for each process, or a [shared store](Self::revoke).
    ///
    /// ```no_run
    /// # use actix_protect_api::{ProtectApi, Ssf};
    /// # fn start(protect: ProtectApi) {
    /// let ssf = Ssf::transmitter("https://idp.example")
    ///     .audience("https://api.example")
    ///     .authorization_header("Bearer the-token");
    /// let poll = protect.ssf_poll("https://idp.example/ssf/poll", ssf);
    /// // … run the server …
    /// drop(poll);
    /// # }
    /// ```
    ///
    /// # Panics
    /// If a setting of the transmitter is invalid, or if it does not state which of several issuers the events concern; or if
    /// the thread cannot be started.
    #[track_caller]
    pub fn ssf_poll(&self, endpoint: &str, ssf: Ssf) -> SsfPoll {
        let interval = ssf.poll_interval;
        let receiver = match Receiver::new(self, ssf, EventSource::SsfPoll) {
            Ok(receiver) => receiver,
            Err(problem) => panic_with(&problem),
        };
        let endpoint = match EndpointUrl::parse(endpoint) {
            Ok(endpoint) => endpoint,
            Err(expected) => panic_with(&format!("the polling endpoint: expected {expected}")),
        };
        let poller = Poller {
            receiver,
            endpoint,
            interval,
            warnings: LogThrottle::default(),
            pending: Pending::default(),
            is_long: false,
        };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("protect-api-poll".to_owned());
        if let Err(error) = thread.spawn(move || run(poller, stopped)) {
            panic_with(&format!("the thread of a poll: {error}"));
        }
        SsfPoll { _stop: stop }
    }
}

fn run(mut poller: Poller, mut stopped: oneshot::Receiver<()>) {
    let runtime = match rt::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            poller.report(&AuthError::setup(SetupFault::Endpoint).with_source(error));
            return;
        }
    };
    loop {
        let polling = AssertUnwindSafe(|| {
            runtime.block_on(async {
                let polling = pin!(poller.run());
                select(polling, &mut stopped).await;
            });
        });
        if panic::catch_unwind(polling).is_ok() {
            return;
        }
        let error = AuthError::upstream(UpstreamFault::Failing).with_source("the thread panicked");
        poller.report(&error);
        thread::sleep(FIRST_PAUSE);
    }
}

/// The acknowledgements that the next poll sends (RFC 8936 section 2.4).
#[derive(Default)]
struct Pending {
    accepted: Vec<String>,
    errors: Map<String, Value>,
}

struct Poller {
    receiver: Receiver,
    endpoint: EndpointUrl,
    interval: Duration,
    warnings: LogThrottle,
    pending: Pending,
    /// Whether the transmitter may hold the next poll. It may if the last one succeeded, so that a transmitter that never
    /// responds is noticed.
    is_long: bool,
}

impl Poller {
    async fn run(&mut self) {
        let mut failures = 0_u32;
        loop {
            let started = Instant::now();
            match self.poll().await {
                Ok(has_new_events) => {
                    failures = 0;
                    if !has_new_events && started.elapsed() < self.interval {
                        rt::time::sleep(self.interval).await;
                    }
                }
                Err(error) => {
                    self.report(&error);
                    let pause = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(6))).min(LONGEST_PAUSE);
                    let requested = error.retry_after().unwrap_or_default().min(LONGEST_PAUSE);
                    failures = failures.saturating_add(1);
                    rt::time::sleep(pause.max(requested)).await;
                }
            }
        }
    }

    /// Polls once and applies the events. Returns whether the next poll may follow at once: a transmitter that sends the same
    /// events again and again is polled with a pause.
    async fn poll(&mut self) -> Result<bool, AuthError> {
        let is_long = std::mem::take(&mut self.is_long);
        let sets = match self.call(is_long).await {
            Ok(sets) => sets,
            // The transmitter has no events, or does not respond. The next poll, which is short, decides.
            Err(error) if is_long && error.kind() == AuthErrorKind::Upstream(UpstreamFault::TimedOut) => {
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        self.is_long = true;
        let mut has_new_events = false;
        let state = &self.receiver.transmitter;
        for (id, set) in sets.0 {
            let outcome = match &set {
                Some(set) => self.receiver.receive(set, || state.thread_client()).await,
                None => Err(super::receiver::not_a_set()),
            };
            match outcome {
                Ok(is_new) => {
                    has_new_events |= is_new;
                    self.pending.accepted.push(id);
                }
                Err(error) if error.is_client_fault() => {
                    let error = json!({
                        "err": reply::error_code(error.kind()),
                        "description": "The security event token was not accepted",
                    });
                    self.pending.errors.insert(id, error);
                }
                // The transmitter sends it again.
                Err(error) => return Err(error),
            }
        }
        Ok(has_new_events)
    }

    /// Sends the acknowledgements, and returns the next events by their `jti`.
    async fn call(&mut self, is_long: bool) -> Result<PolledEvents, AuthError> {
        let state = &self.receiver.transmitter;
        let client = state.thread_client();
        let authorization = self.authorization()?;
        let body = json!({
            "maxEvents": MAX_EVENTS,
            "returnImmediately": !is_long,
            "ack": self.pending.accepted,
            "setErrs": self.pending.errors,
        });
        let deadline = if is_long { LONG_POLL } else { state.settings.tuning.response_timeout };
        let limits = CallLimits { deadline, max_body: MAX_RESPONSE, traceparent: Traceparent::NONE };
        let timer = state.telemetry.call("poll");
        let body = Bytes::from(body.to_string());
        let outcome = http::post_json(&client, &self.endpoint.uri, authorization, body, limits).await;
        let sets = outcome.and_then(|reply| {
            if !reply.is_ok() {
                return Err(bad_answer(format!("status {}", reply.status)));
            }
            // The text of the error may contain a part of the response.
            PolledEvents::read(&reply.body).map_err(|_| bad_answer("a response without an object `sets`"))
        });
        timer.end(&sets);
        let sets = sets.map_err(|error| error.with_url(&self.endpoint))?;
        self.pending = Pending::default();
        Ok(sets)
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, AuthError> {
        let Some(source) = &self.receiver.authorization else { return Ok(None) };
        let setup = |problem: String| AuthError::setup(SetupFault::Credentials).with_source(problem);
        let value = source.current().map_err(setup)?;
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| setup("the value of the Authorization header is malformed".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn report(&self, error: &AuthError) {
        let telemetry = &self.receiver.transmitter.telemetry;
        let (issuer, fault) = (&*telemetry.issuer, error.kind().fault());
        let level = self.warnings.level_at(telemetry.clock.monotonic(), log::Level::Warn);
        record!(
            level, event = "poll_failed", issuer, fault;
            "polling for events failed: {}", error.describe(issuer)
        );
    }
}
