//! The comparison: scenarios, rounds in which the servers take turns, ratios within a round.

use std::time::Duration;

use actix_protect_api::test::{Algorithm, JwtOptions, TestIssuer};
use serde_json::json;

use crate::{
    client::Requests,
    process::{Server, leave_core_0},
};

/// The requests and the servers; ratios are to the first server.
struct Scenario {
    name: &'static str,
    tokens: Tokens,
    servers: &'static [&'static str],
}

enum Tokens {
    None,
    Opaque,
    Jwt(Algorithm),
}

/// A server that is named twice shows the noise: both are the same program.
const SCENARIOS: [Scenario; 7] = [
    Scenario { name: "no token", tokens: Tokens::None, servers: &["bare", "bare"] },
    Scenario {
        name: "opaque, verdict kept (warm)",
        tokens: Tokens::Opaque,
        servers: &["bare", "bare", "wrapped", "hand-cached", "ours-cached"],
    },
    Scenario {
        name: "opaque, each introspected",
        tokens: Tokens::Opaque,
        servers: &["forward", "forward", "hand", "ours"],
    },
    Scenario {
        name: "RS256, remembered",
        tokens: Tokens::Jwt(Algorithm::RS256),
        servers: &["bare", "bare", "ours"],
    },
    Scenario {
        name: "RS256, each verified",
        tokens: Tokens::Jwt(Algorithm::RS256),
        servers: &["hand", "hand", "ours-forgetful"],
    },
    Scenario {
        name: "ES256, each verified",
        tokens: Tokens::Jwt(Algorithm::ES256),
        servers: &["hand", "hand", "ours-forgetful"],
    },
    Scenario {
        name: "EdDSA, each verified",
        tokens: Tokens::Jwt(Algorithm::EdDSA),
        servers: &["hand", "hand", "ours-forgetful"],
    },
];

const TOKENS: usize = 1000;

pub(crate) fn run(arguments: &[String]) {
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let number = |name, default| option(name).map_or(default, |value| value.parse().expect("a number"));
    let rounds = usize::try_from(number("--rounds", 5)).unwrap();
    let duration = Duration::from_millis(number("--millis", 1000));
    let only = option("--only").cloned().unwrap_or_default();

    leave_core_0();
    let issuer =
        TestIssuer::builder().algorithms([Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]).start();
    println!("{rounds} rounds of {} ms; median [lowest-highest]", duration.as_millis());
    println!("| tokens | server | CPU µs/request | ratio of CPU to the first | requests/s |");
    println!("|---|---|---|---|---|");
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&only)) {
        scenario.run(&issuer, rounds, duration);
    }
}

impl Scenario {
    fn run(&self, issuer: &TestIssuer, rounds: usize, duration: Duration) {
        let path = if matches!(self.tokens, Tokens::None) { "/public" } else { "/data" };
        let requests = Requests::new(path, &self.tokens.mint(issuer));
        let servers: Vec<Server> = self.servers.iter().map(|kind| Server::start(kind, issuer)).collect();
        for server in &servers {
            requests.send(server.port, duration / 2);
        }
        // Of each server one figure a round.
        let mut micros = vec![Vec::new(); servers.len()];
        let mut rates = micros.clone();
        for round in 0..rounds {
            for turn in 0..servers.len() {
                let index = (turn + round) % servers.len();
                let before = servers[index].cpu();
                let answered =
                    f64::from(u32::try_from(requests.send(servers[index].port, duration)).unwrap());
                let cpu = servers[index].cpu().saturating_sub(before);
                micros[index].push(cpu.as_secs_f64() * 1e6 / answered);
                rates[index].push(answered / duration.as_secs_f64());
            }
        }
        for (index, kind) in self.servers.iter().enumerate() {
            let ratios = micros[index].iter().zip(&micros[0]).map(|(own, first)| own / first).collect();
            let (cpu, ratio, rate) =
                (spread(micros[index].clone(), 1), spread(ratios, 2), spread(rates[index].clone(), 0));
            println!("| {} | {kind} | {cpu} | {ratio} | {rate} |", self.name);
        }
    }
}

impl Tokens {
    fn mint(&self, issuer: &TestIssuer) -> Vec<String> {
        let claims = |number| {
            json!({ "sub": format!("user-{number}"), "scope": "openid profile read write", "aud": [issuer.audience()],
                    "groups": ["staff", "billing-admins", "eu-west"], "email": format!("user{number}@example.test"),
                    "email_verified": true, "preferred_username": format!("user{number}") })
        };
        match self {
            Self::None => Vec::new(),
            Self::Opaque => (0..TOKENS).map(|number| issuer.opaque(claims(number))).collect(),
            Self::Jwt(algorithm) => {
                let options = || JwtOptions::new().algorithm(*algorithm);
                (0..TOKENS).map(|number| issuer.jwt_with(options(), claims(number))).collect()
            }
        }
    }
}

/// Median, lowest and highest.
fn spread(mut figures: Vec<f64>, digits: usize) -> String {
    figures.sort_by(f64::total_cmp);
    let [first, .., last] = figures[..] else {
        return figures.first().map(f64::to_string).unwrap_or_default();
    };
    let median = figures[figures.len() / 2];
    format!("{median:.digits$} [{first:.digits$}-{last:.digits$}]")
}
