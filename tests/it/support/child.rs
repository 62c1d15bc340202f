//! Child processes, for what a process does once: each runs one ignored test of this binary.

use std::{
    env,
    process::{Command, Output},
};

/// A command that runs the ignored test `name` of `module` (`module_path!()`), without the variables of this crate.
pub(crate) fn command(module: &str, name: &str) -> Command {
    let (_, path) = module.split_once("::").expect("a module below the root");
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("{path}::{name}"), "--ignored", "--nocapture"]);
    for (variable, _) in env::vars_os() {
        if variable.to_string_lossy().starts_with("MONOCLOUD_BACKEND_") {
            command.env_remove(variable);
        }
    }
    command
}

/// Runs the command. Its test must exist.
pub(crate) fn output(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(text(&output).contains("running 1 test"), "{command:?}: {}", text(&output));
    output
}

/// Returns everything that the process wrote.
pub(crate) fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
