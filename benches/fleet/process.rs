//! The replicas as processes, which end with their handles.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use actix_protect_api::test::TestIssuer;

use crate::child::{self, ChildProcess};

/// The variables of one replica.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// Sends a signal such as `STOP`.
pub(crate) fn signal(process: &ChildProcess, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), process.0.id().to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} failed");
}

/// The replicas.
#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) processes: Vec<ChildProcess>,
    pub(crate) urls: Vec<String>,
}

impl Fleet {
    /// Starts one replica for each of these sets of variables.
    pub(crate) fn start(issuer: &TestIssuer, variables: impl IntoIterator<Item = Variables>) -> Self {
        let mut fleet = Self::default();
        for variables in variables {
            fleet.add(issuer, variables);
        }
        fleet
    }

    pub(crate) fn add(&mut self, issuer: &TestIssuer, variables: Variables) {
        let mut command = child::command(env::current_exe().unwrap());
        command.arg("replica").envs(issuer.variables()).envs(variables);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        self.processes.push(ChildProcess(child));
        self.urls.push(BufReader::new(output).lines().next().expect("the replica has ended").unwrap());
    }
}

/// A client that waits long enough.
pub(crate) fn client() -> awc::Client {
    awc::Client::builder().timeout(Duration::from_secs(30)).finish()
}

/// Returns the status of a request with this token; 0 without a response.
pub(crate) async fn status(client: &awc::Client, url: &str, token: &str) -> u16 {
    match client.get(url).bearer_auth(token).send().await {
        Ok(mut response) => {
            let _ = response.body().await;
            response.status().as_u16()
        }
        Err(_) => 0,
    }
}

/// Revokes the token at this replica. Returns the status.
pub(crate) async fn revoke(client: &awc::Client, url: &str, token: &str) -> u16 {
    let request = client.post(format!("{url}/revoke"));
    request.send_body(token.to_owned()).await.map_or(0, |response| response.status().as_u16())
}
