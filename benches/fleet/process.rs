//! Redis and the replicas as processes, which end with their handles.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use actix_protect_api::test::TestIssuer;

use crate::child::{self, ChildProcess};

/// Sends a signal such as `STOP`.
pub(crate) fn signal(process: &ChildProcess, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), process.0.id().to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} failed");
}

pub(crate) struct Redis {
    pub(crate) process: Option<ChildProcess>,
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut redis = Self { process: None, port };
        redis.start_again();
        redis
    }

    pub(crate) fn start_again(&mut self) {
        self.process = Some(child::start_redis(self.port).unwrap());
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("redis-server does not listen");
    }

    /// Sends a command, and does not wait until it is done.
    pub(crate) fn command(&self, command: &str) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut reply = [0; 64];
        let read = stream.read(&mut reply).unwrap();
        assert!(reply.starts_with(b"+"), "{}", String::from_utf8_lossy(&reply[..read]));
    }
}

/// The replicas.
pub(crate) struct Fleet {
    pub(crate) processes: Vec<ChildProcess>,
    pub(crate) urls: Vec<String>,
}

impl Fleet {
    /// Starts one replica for each of these errors of the clock, in seconds.
    pub(crate) fn start(issuer: &TestIssuer, redis_port: u16, clocks: [i64; 3]) -> Self {
        let (mut processes, mut urls) = (Vec::new(), Vec::new());
        for ahead in clocks {
            let mut command = child::command(env::current_exe().unwrap());
            command.arg("replica").envs(issuer.variables());
            command.env("REDIS_URL", format!("redis://127.0.0.1:{redis_port}/"));
            command.env("SECONDS_AHEAD", ahead.to_string());
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let output = child.stdout.take().unwrap();
            processes.push(ChildProcess(child));
            urls.push(BufReader::new(output).lines().next().expect("the replica has ended").unwrap());
        }
        Self { processes, urls }
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
