//! The scopes that each tool requires.

use std::collections::HashMap;

use super::{
    message::{Call, Message, Value},
    text::{is_plain, resembles},
};
use crate::{claims::scope::Scope, protect_api::parse_scopes};

/// The method that calls a tool.
const CALL: &str = "tools/call";

/// The scopes that the tools and methods of an MCP server require, for [`per_tool`](crate::ProtectApi::per_tool).
///
/// **All** scopes of a tool are required. An empty list requires nothing.
///
/// # When all declared scopes are required
/// If it cannot be determined which tool a message calls, it requires the scopes of **all** tools and methods. A server
/// may read such a message in a way that calls any of them. These messages are:
///
/// - a member that decides (`method`, `params`, `name`, `_meta` and others) occurs twice, or has a name that differs only in
///   case, white space or control characters (some parsers ignore these);
/// - a member name that is private to serde, such as `$serde_json::private::RawValue`;
/// - `params`, or a message in a batch, is an array (a parser of structs accepts this);
/// - the method or the name is not a string, or differs from a declared one only in case, white space or control characters;
/// - a tool that is not declared, if there is no [`other_tools`](Self::other_tools), or if its name has characters other
///   than ASCII letters, digits, and `_-./:`;
/// - a message with a `Content-Encoding`.
///
/// A batch requires the scopes of all its messages. Methods other than `tools/call` and those that are declared with
/// [`method`](Self::method) require nothing in addition to the mount.
#[derive(Clone, Debug, Default)]
#[must_use = "pass it to `ProtectApi::per_tool`"]
pub struct Tools {
    named: HashMap<Box<str>, Vec<Scope>>,
    methods: HashMap<Box<str>, Vec<Scope>>,
    others: Option<Vec<Scope>>,
    /// All scopes above, without duplicates.
    declared: Vec<Scope>,
}

impl Tools {
    /// Creates an empty list. Every call of a tool then requires nothing in addition to the mount.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires these scopes for the tool with this name. A second call for the same tool adds scopes.
    ///
    /// # Panics
    /// If a value is not a scope of RFC 6749 section 3.3.
    #[track_caller]
    pub fn tool<S: AsRef<str>>(
        mut self,
        name: impl Into<String>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let scopes = self.declare(scopes);
        self.named.entry(name.into().into()).or_default().extend(scopes);
        self
    }

    /// Requires these scopes for every tool that is not declared. Without this setting such a tool requires all declared
    /// scopes, so that a new tool is never less protected than the others.
    ///
    /// # Panics
    /// If a value is not a scope of RFC 6749 section 3.3.
    #[track_caller]
    pub fn other_tools<S: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes = self.declare(scopes);
        self.others.get_or_insert_default().extend(scopes);
        self
    }

    /// Requires these scopes for another method than `tools/call`, such as `resources/read`. For `tools/call` they are
    /// required in addition to those of the tool.
    ///
    /// # Panics
    /// If a value is not a scope of RFC 6749 section 3.3.
    #[track_caller]
    pub fn method<S: AsRef<str>>(
        mut self,
        method: impl Into<String>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let scopes = self.declare(scopes);
        self.methods.entry(method.into().into()).or_default().extend(scopes);
        self
    }

    #[track_caller]
    fn declare<S: AsRef<str>>(&mut self, scopes: impl IntoIterator<Item = S>) -> Vec<Scope> {
        let scopes = parse_scopes(scopes);
        for scope in &scopes {
            if !self.declared.contains(scope) {
                self.declared.push(scope.clone());
            }
        }
        scopes
    }

    /// Returns all declared scopes: the strictest requirement.
    pub(super) fn strictest(&self) -> &[Scope] {
        &self.declared
    }

    /// Adds the scopes that a message requires.
    pub(super) fn add_required<'t>(&'t self, message: &Message<'_>, required: &mut Required<'t>) {
        if required.0.len() == self.declared.len() {
            // No message can require more. A batch may have a million messages.
            return;
        }
        match message {
            Message::Response => {}
            Message::Ambiguous => required.add(self.strictest()),
            Message::Call(call) => {
                required.add(self.of_method(&call.method.0));
                if call.method.0 == CALL {
                    required.add(self.of_tool(call));
                }
            }
        }
    }

    fn of_method(&self, method: &str) -> &[Scope] {
        if let Some(scopes) = self.methods.get(method) {
            return scopes;
        }
        let is_confusable =
            resembles(CALL, method) || self.methods.keys().any(|declared| resembles(declared, method));
        if is_confusable { self.strictest() } else { &[] }
    }

    fn of_tool(&self, call: &Call<'_>) -> &[Scope] {
        let Value::Text(name) = &call.name else { return self.strictest() };
        if let Some(scopes) = self.named.get(&*name.0) {
            return scopes;
        }
        match &self.others {
            Some(scopes) if is_plain(&name.0) && !self.named.keys().any(|tool| resembles(tool, &name.0)) => {
                scopes
            }
            _ => self.strictest(),
        }
    }
}

/// The scopes that the messages of a body require, without duplicates.
#[derive(Debug, Default)]
pub(super) struct Required<'t>(pub(super) Vec<&'t Scope>);

impl<'t> Required<'t> {
    pub(super) fn add(&mut self, scopes: &'t [Scope]) {
        for scope in scopes {
            if !self.0.contains(&scope) {
                self.0.push(scope);
            }
        }
    }

    /// Appends the scopes to a space-delimited list.
    pub(super) fn joined_to(&self, list: &str) -> String {
        let mut joined: Vec<&str> = list.split(' ').filter(|scope| !scope.is_empty()).collect();
        for scope in &self.0 {
            if !joined.contains(&scope.as_str()) {
                joined.push(scope.as_str());
            }
        }
        joined.join(" ")
    }
}
