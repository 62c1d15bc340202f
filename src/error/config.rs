//! The problems of a configuration.

use std::{error::Error as StdError, fmt, io};

/// An invalid configuration, with **all** of its problems, reported before the first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

/// One problem of a [`ConfigError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The variable (`MONOCLOUD_BACKEND_AUDIENCE`) or the builder method (`audience`).
    pub name: String,
    /// The value that was found (unless it is secret) and the expected value.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn new(problems: Vec<ConfigProblem>) -> Self {
        Self { problems }
    }

    /// Returns every problem, in the order in which they were found.
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl ConfigProblem {
    pub(crate) fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "invalid configuration: {one}"),
            many => {
                write!(f, "invalid configuration, {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl StdError for ConfigError {}

/// Lets `main` return `io::Result` and use `?`: the kind is [`InvalidInput`](io::ErrorKind::InvalidInput).
impl From<ConfigError> for io::Error {
    fn from(error: ConfigError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_error_lists_every_problem() {
        let error = ConfigError::new(vec![
            ConfigProblem::new("A", "is missing"),
            ConfigProblem::new("B", "is \"x\", expected a number"),
        ]);
        assert_eq!(
            error.to_string(),
            "invalid configuration, 2 problems:\n  - A: is missing\n  - B: is \"x\", expected a number"
        );
    }

    #[test]
    fn a_main_function_that_returns_io_result_can_use_the_question_mark() {
        let start =
            || -> io::Result<()> { Err(ConfigError::new(vec![ConfigProblem::new("A", "is missing")]))? };
        let error = start().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "invalid configuration: A: is missing");
    }
}
