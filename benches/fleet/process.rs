//! Redis and the replicas as processes, which end with their handles.

use std::{
    env,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use actix_protect_api::test::TestIssuer;

pub(crate) struct Process(Child);

impl Process {
    /// Sends a signal such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} failed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Redis {
    pub(crate) process: Option<Process>,
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
        let arguments = format!("--bind 127.0.0.1 --port {} --appendonly no", self.port);
        let mut command = Command::new("redis-server");
        command.args(arguments.split(' ')).args(["--save", ""]).stdout(Stdio::null());
        self.process = Some(Process(command.spawn().expect("redis-server")));
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
    pub(crate) processes: Vec<Process>,
    pub(crate) urls: Vec<String>,
}

impl Fleet {
    /// Starts one replica for each of these errors of the clock, in seconds.
    pub(crate) fn start(issuer: &TestIssuer, redis_port: u16, clocks: [i64; 3]) -> Self {
        let (mut processes, mut urls) = (Vec::new(), Vec::new());
        for ahead in clocks {
            let mut command = Command::new(env::current_exe().unwrap());
            command.arg("replica").envs(issuer.variables());
            command.env("REDIS_URL", format!("redis://127.0.0.1:{redis_port}/"));
            command.env("SECONDS_AHEAD", ahead.to_string());
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let output = child.stdout.take().unwrap();
            processes.push(Process(child));
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
