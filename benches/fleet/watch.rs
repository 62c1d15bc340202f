//! Requests with one token at each replica, during a failure.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::test::TestIssuer;
use actix_web::rt::{spawn, task::JoinHandle, time::sleep};
use serde_json::json;

use crate::process::{client, status};

/// One response: its end, the time that it took, and its status.
#[derive(Clone, Copy)]
pub(crate) struct Response {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    pub(crate) status: u16,
}

/// The responses to one token.
pub(crate) struct Watch {
    responses: Rc<RefCell<Vec<Response>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Starts about 50 requests per second at each replica.
    pub(crate) fn start(urls: &[String], token: &str) -> Self {
        let responses = Rc::default();
        let tasks =
            urls.iter().map(|url| spawn(request(url.clone(), token.to_owned(), Rc::clone(&responses))));
        Self { tasks: tasks.collect(), responses }
    }

    pub(crate) fn responses(&self) -> Vec<Response> {
        self.responses.borrow().clone()
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Response) -> bool) -> usize {
        self.responses.borrow().iter().filter(|response| is_counted(response)).count()
    }

    /// The number of milliseconds from this time until the last acceptance. The end of a response counts, so that a request that
    /// waited in a stopped replica is included.
    pub(crate) fn accepted_for(&self, since: Instant) -> u128 {
        let accepted = self.responses().into_iter().filter(|response| response.status == 200);
        accepted.map(|response| response.at.saturating_duration_since(since).as_millis()).max().unwrap_or(0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn request(url: String, token: String, responses: Rc<RefCell<Vec<Response>>>) {
    let client = client();
    loop {
        let started = Instant::now();
        let status = status(&client, &url, &token).await;
        let response = Response { at: Instant::now(), took: started.elapsed(), status };
        responses.borrow_mut().push(response);
        sleep(Duration::from_millis(20)).await;
    }
}

/// An opaque token and a JWT of one user.
pub(crate) struct Tokens {
    pub(crate) opaque: String,
    pub(crate) jwt: String,
}

impl Tokens {
    pub(crate) fn new(issuer: &TestIssuer, user: &str) -> Self {
        let claims = || json!({ "sub": user });
        Self { opaque: issuer.opaque(claims()), jwt: issuer.jwt(claims()) }
    }

    pub(crate) fn both(&self) -> [&str; 2] {
        [&self.opaque, &self.jwt]
    }

    pub(crate) fn watch(&self, urls: &[String]) -> [Watch; 2] {
        self.both().map(|token| Watch::start(urls, token))
    }
}
