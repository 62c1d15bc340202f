//! A body requires at least the scopes of its strictest reading.

use std::collections::BTreeSet;

use super::{
    message::read,
    tools::{Required, Tools},
};
use proptest::prelude::*;

/// The tools `a` to `c` require a scope of the same name, other tools `o`. The method `m` requires `s`.
fn tools() -> Tools {
    let tools = Tools::new().tool("a", ["a"]).tool("b", ["b"]).tool("c", ["c"]);
    tools.other_tools(["o"]).method("m", ["s"])
}

/// The scopes that a body requires; `None` if it is rejected.
fn required(tools: &Tools, body: &(impl AsRef<[u8]> + ?Sized)) -> Option<BTreeSet<String>> {
    let mut required = Required::default();
    read(body.as_ref(), &mut |message| tools.add_required(&message, &mut required)).ok()?;
    Some(required.0.iter().map(ToString::to_string).collect())
}

/// A JSON document with all its members, also those with the same name.
#[derive(Clone, Debug)]
enum Node {
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
    Other,
}

/// A lenient reader that shares no code with the tested one: it accepts numbers of any size, lone surrogates and any depth.
struct Reader<'t>(std::iter::Peekable<std::str::Chars<'t>>);

impl Node {
    /// Reads a text; `None` if it is not JSON.
    fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader(text.chars().peekable());
        let node = reader.value()?;
        reader.skip_space();
        reader.0.next().is_none().then_some(node)
    }
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while self.0.next_if(|c| [' ', '\t', '\n', '\r'].contains(c)).is_some() {}
    }

    /// Skips white space, and the character if it is the next one.
    fn skip(&mut self, wanted: char) -> bool {
        self.skip_space();
        self.0.next_if_eq(&wanted).is_some()
    }

    fn value(&mut self) -> Option<Node> {
        self.skip_space();
        match *self.0.peek()? {
            '{' => self
                .elements('}', |reader| {
                    let name = reader.string()?;
                    reader.skip(':').then_some(())?;
                    Some((name, reader.value()?))
                })
                .map(Node::Object),
            '[' => self.elements(']', Self::value).map(Node::Array),
            '"' => self.string().map(Node::Text),
            _ => self.number_or_name(),
        }
    }

    fn elements<T>(&mut self, end: char, mut element: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.0.next();
        let mut elements = Vec::new();
        if self.skip(end) {
            return Some(elements);
        }
        loop {
            elements.push(element(self)?);
            if self.skip(end) {
                return Some(elements);
            }
            self.skip(',').then_some(())?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.skip('"').then_some(())?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            match self.0.next()? {
                '"' => return Some(String::from_utf16_lossy(&units)),
                '\\' => units.push(match self.0.next()? {
                    'u' => {
                        let hex: String = self.0.by_ref().take(4).collect();
                        (hex.len() == 4).then(|| u16::from_str_radix(&hex, 16).ok())??
                    }
                    'b' => 8,
                    'f' => 12,
                    'n' => 10,
                    'r' => 13,
                    't' => 9,
                    '"' => 0x22,
                    '\\' => 0x5c,
                    '/' => 0x2f,
                    _ => return None,
                }),
                control if control < ' ' => return None,
                other => units.extend_from_slice(other.encode_utf16(&mut [0; 2])),
            }
        }
    }

    fn number_or_name(&mut self) -> Option<Node> {
        let mut text = String::new();
        while let Some(c) = self.0.next_if(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)) {
            text.push(c);
        }
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = |text: &str| {
            let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
            let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
            let has_zero = whole.starts_with('0') && whole != "0";
            digits(whole)
                && !has_zero
                && digits(fraction)
                && digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
        };
        (["true", "false", "null"].contains(&&*text) || is_number(&text)).then_some(Node::Other)
    }
}

/// All values that some reader takes for this node: serde replaces an object by the value of a private member, which may
/// be JSON in a string.
fn values(node: &Node) -> Vec<Node> {
    let mut values = vec![node.clone()];
    if let Node::Object(members) = node {
        for (_, value) in members.iter().filter(|(name, _)| name.starts_with("$serde")) {
            values.push(value.clone());
            if let Node::Text(text) = value
                && let Some(inner) = Node::parse(text)
            {
                values.extend(self::values(&inner));
            }
        }
    }
    values
}

/// All values that some reader takes for this member: the first or the last one, in any case, or the position in an array.
fn members(node: &Node, name: &str, position: usize) -> Vec<Node> {
    let folded = |text: &str| {
        let text = text.replace('\u{17f}', "s").replace('\u{212a}', "k");
        text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect::<String>().to_lowercase()
    };
    let one = |node: &Node| -> Vec<Node> {
        match node {
            Node::Object(members) => {
                members.iter().filter(|(n, _)| folded(n) == name).map(|(_, v)| v.clone()).collect()
            }
            Node::Array(elements) => elements.get(position).cloned().into_iter().collect(),
            Node::Text(_) | Node::Other => Vec::new(),
        }
    };
    values(node).iter().flat_map(one).flat_map(|member| values(&member)).collect()
}

/// The scopes that some reading of a message requires.
fn of_message(message: &Node, found: &mut BTreeSet<String>) {
    let is = |text: &str, other: &str| text.trim_matches(['\0', ' ', '\t']).eq_ignore_ascii_case(other);
    // The positions of the members in `struct { jsonrpc, id, method, params }` and `struct { name, arguments }`.
    for method in members(message, "method", 2) {
        let Node::Text(method) = method else { continue };
        if is(&method, "m") {
            found.insert("s".to_owned());
        }
        if !is(&method, "tools/call") {
            continue;
        }
        for name in members(message, "params", 3).iter().flat_map(|params| members(params, "name", 0)) {
            let Node::Text(name) = name else { continue };
            let tool = ["a", "b", "c"].into_iter().find(|tool| is(&name, tool));
            found.insert(tool.unwrap_or("o").to_owned());
        }
    }
}

/// The scopes of all readings of a body; `None` if it is not JSON.
fn strictest_reading(body: &str) -> Option<BTreeSet<String>> {
    let document = Node::parse(body)?;
    let mut found = BTreeSet::new();
    for value in values(&document) {
        of_message(&value, &mut found);
        if let Node::Array(messages) = &value {
            messages.iter().flat_map(values).for_each(|message| of_message(&message, &mut found));
        }
    }
    Some(found)
}

#[track_caller]
fn check(tools: &Tools, body: &str) {
    let Some(required) = required(tools, body) else { return };
    let read = strictest_reading(body).expect("we read a body that no reader accepts");
    assert!(required.is_superset(&read), "requires {required:?}, read as {read:?}: {body}");
}

/// Bytes that are read must be UTF-8 without a byte order mark: nobody can read them in another way.
#[track_caller]
fn check_bytes(tools: &Tools, body: &[u8]) {
    if required(tools, body).is_some() {
        let text = str::from_utf8(body).expect("we read a body that is not UTF-8");
        assert!(!text.starts_with('\u{feff}'), "{text}");
        check(tools, text);
    }
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        r#""a""#,
        r#""b""#,
        r#""c""#,
        r#""z""#,
        r#""A""#,
        r#"" b""#,
        r#""c\u0000""#,
        r#""\u0061""#,
        r#""a\ud83d\ude00""#,
        r#""\ud800a""#,
        "\"a\u{301}\"",
        "1",
        "1e400",
        "null",
        r#"["a"]"#,
        r#"{"$serde_json::private::RawValue":"\"b\""}"#,
        r#"{"a":1}"#,
    ])
    .prop_map(str::to_owned)
}

fn params() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "name",
        "name",
        "Name",
        "n\\u0061me",
        "NAME ",
        "uri",
        "arguments",
        "_meta",
        "$serde_json::private::RawValue",
    ]);
    let member = (key, name()).prop_map(|(key, name)| format!("\"{key}\":{name}"));
    prop_oneof![
        6 => prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        1 => name().prop_map(|name| format!("[{name},{{}}]")),
        1 => name().prop_map(|name| {
            let inner = serde_json::to_string(&format!("{{\"name\":{name}}}")).unwrap();
            format!("{{\"$serde_json::private::RawValue\":{inner}}}")
        }),
        1 => name(),
    ]
}

fn method() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        r#""tools/call""#,
        r#""tools/call""#,
        r#""tools\/call""#,
        r#""tools\u002fcall""#,
        r#""TOOLS/call""#,
        r#""tools/call ""#,
        r#""m""#,
        r#""M""#,
        r#""tools/list""#,
        "1",
        "null",
        r#"{"tools/call":null}"#,
        r#"{"$serde_json::private::RawValue":"\"tools/call\""}"#,
    ])
    .prop_map(str::to_owned)
}

fn message() -> impl Strategy<Value = String> {
    let method_key = prop::sample::select(vec!["method", "method", "method", "Method", "meth\\u006fd"]);
    let params_key = prop::sample::select(vec!["params", "params", "params", "PARAMS", "param\u{17f}"]);
    let member = prop_oneof![
        4 => (method_key, method()).prop_map(|(key, value)| format!("\"{key}\":{value}")),
        4 => (params_key, params()).prop_map(|(key, value)| format!("\"{key}\":{value}")),
        1 => prop::sample::select(vec![
            r#""id":1"#, r#""result":{}"#, r#""error":1"#, r#""jsonrpc":"2.0""#,
            r#""id":1e400"#, r#""id":-0.0E-5"#, r#""id":123456789012345678901234567890"#, r#""id":"\ud800""#,
            r#""x":-1e999999"#, r#""x":"\ud800\u0000""#, r#""\ud83d\ude00":[]"#, r#""x":01"#, r#""x":NaN"#,
        ])
        .prop_map(str::to_owned),
        1 => (1_usize..200, prop::sample::select(vec!["x", "params", "id", "method"])).prop_map(|(depth, key)| {
            format!("\"{key}\":{}{}", "[".repeat(depth), "]".repeat(depth))
        }),
    ];
    let object = prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")));
    let positional =
        (method(), params()).prop_map(|(method, params)| format!("[\"2.0\",1,{method},{params}]"));
    prop_oneof![
        8 => object.clone(),
        1 => positional,
        1 => object.prop_map(|inner| {
            format!("{{\"$serde_json::private::RawValue\":{}}}", serde_json::to_string(&inner).unwrap())
        }),
        1 => params(),
    ]
}

fn body() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => message(),
        2 => prop::collection::vec(message(), 0..4).prop_map(|messages| format!("[{}]", messages.join(","))),
        1 => (message(), any::<prop::sample::Index>()).prop_map(|(text, at)| {
            text.chars().take(at.index(text.chars().count() + 1)).collect()
        }),
    ]
}

/// A body with bytes that are no part of it.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let odd: Vec<&[u8]> = vec![
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe2\x80\xa8",
        b"\0",
        b"\x0b",
        b" \n\t\r",
        b"{}",
        b",",
        b"//\n",
    ];
    let at = prop_oneof![Just(0), Just(usize::MAX), 0_usize..100];
    (body(), prop::sample::select(odd), at).prop_map(|(body, odd, at)| {
        let mut bytes = body.into_bytes();
        let at = at.min(bytes.len());
        bytes.splice(at..at, odd.iter().copied());
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn bytes_require_the_scopes_of_their_strictest_reading(body in bytes()) {
        check_bytes(&tools(), &body);
    }

    #[test]
    fn a_body_requires_the_scopes_of_its_strictest_reading(body in body()) {
        check(&tools(), &body);
    }

    #[test]
    fn any_text_requires_the_scopes_of_its_strictest_reading(body in ".{0,64}") {
        check(&tools(), &body);
    }
}

/// Every combination of these parts: 297 bodies.
#[test]
fn unusual_bodies_require_the_scopes_of_their_strictest_reading() {
    let tools = tools();
    let all: BTreeSet<String> = ["a", "b", "c", "o", "s"].map(str::to_owned).into();
    let methods = [
        (r#""method":"tools/call""#, false),
        (r#""method":"tools\/call""#, false),
        (r#""method":"tools/list","method":"tools/call""#, true),
        (r#""method":"tools/call","method":"tools/list""#, true),
        (r#""method":"tools/list","METHOD":"tools/call""#, true),
        (r#""method":"Tools/Call""#, true),
        (r#""method":{"$serde_json::private::RawValue":"\"tools/call\""}"#, true),
        (
            r#""$serde_json::private::RawValue":"{\"method\":\"tools/call\",\"params\":{\"name\":\"b\"}}""#,
            true,
        ),
        (
            r#""method":"x","$serde_json::private::RawValue":"{\"method\":\"tools/call\",\"params\":{\"name\":\"b\"}}""#,
            true,
        ),
    ];
    let params = [
        (r#""params":{"name":"a"}"#, false),
        (r#""params":{"n\u0061me":"\u0061"}"#, false),
        (r#""params":{"name":"a","name":"b"}"#, true),
        (r#""params":{"name":"a","Name":"b"}"#, true),
        (r#""params":{"name":"a"},"params":{"name":"b"}"#, true),
        (r#""params":{"name":"a"},"param\u017f":{"name":"b"}"#, true),
        (r#""params":["b",{}]"#, true),
        (r#""params":{"name":" b"}"#, true),
        (r#""params":{"name":"B"}"#, true),
        (r#""params":{"$serde_json::private::RawValue":"{\"name\":\"b\"}"}"#, true),
        (r#""params":{"name":"a","$serde_json::private::RawValue":"{\"name\":\"b\"}"}"#, true),
    ];
    let mut count = 0;
    for (method, method_is_odd) in methods {
        for (params, params_are_odd) in params {
            let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,{method},{params}}}");
            for body in [message.clone(), format!("[{message}]"), format!("[{{\"method\":\"x\"}},{message}]")]
            {
                check(&tools, &body);
                let expected =
                    if method_is_odd || params_are_odd { all.clone() } else { ["a".to_owned()].into() };
                assert_eq!(required(&tools, &body), Some(expected), "{body}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 297);
}

/// Parts of a message that readers treat differently, and bodies that are not UTF-8: `None` is a rejection with 400.
#[test]
fn unusual_bytes_are_rejected_or_do_not_hide_a_tool() {
    let call = r#"{"method":"tools/call","params":{"name":"b"}}"#;
    let b: Option<BTreeSet<String>> = Some(["b".to_owned()].into());
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (body, expected) in [
        (format!("\u{feff}{call}"), None),
        (format!(" \r\n\t{call}\n"), b.clone()),
        (format!("{call}\0"), None),
        (format!("{call}{call}"), None),
        (format!("{call},"), None),
        (call.replace("{\"name", "{\"x\":1e999999,\"y\":-123456789012345678901234567890,\"name"), b.clone()),
        (call.replace("{\"name", "{\"x\":\"\\ud800\",\"name"), b.clone()),
        (call.replace("{\"name", &format!("{{\"arguments\":{},\"name", deep(150))), b.clone()),
        (call.replace("{\"method", &format!("{{\"x\":{},\"method", deep(150))), b.clone()),
        (call.replace("{\"name", "{\"x\":01,\"name"), None),
        (call.replace('"', "'"), None),
        (call.replace("\"b\"", "\"\\ud800b\""), None),
    ] {
        assert_eq!(required(&tools(), &body), expected, "{body}");
        check_bytes(&tools(), body.as_bytes());
    }
    let utf16: Vec<u8> = call.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [utf16, call.replace('b', "\u{fffd}").into_bytes().iter().map(|byte| byte & 0xbf).collect()] {
        assert_eq!(required(&tools(), &body), None);
    }
}

#[test]
fn a_batch_requires_the_union() {
    let call = |name: &str| format!(r#"{{"id":1,"method":"tools/call","params":{{"name":"{name}"}}}}"#);
    let union = required(&tools(), &format!("[{},{},{}]", call("a"), call("z"), r#"{"method":"m"}"#));
    assert_eq!(union, Some(["a", "o", "s"].map(str::to_owned).into()));
    assert_eq!(required(&tools(), "[]"), Some(BTreeSet::new()));
}

#[test]
fn a_tool_that_is_not_declared_requires_all_scopes_without_other_tools() {
    let tools = Tools::new().tool("a", ["a"]).tool("b", ["b"]).tool("free", [""; 0]);
    let call = |name: &str| format!(r#"{{"id":1,"method":"tools/call","params":{{"name":{name}}}}}"#);
    let all: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
    assert_eq!(required(&tools, &call("\"z\"")), Some(all.clone()));
    assert_eq!(required(&tools, &call("7")), Some(all.clone()));
    assert_eq!(required(&tools, &call("\"free\"")), Some(BTreeSet::new()));
    let tools = tools.other_tools(["o"]);
    assert_eq!(required(&tools, &call("\"z\"")), Some(["o".to_owned()].into()));
    assert_eq!(required(&tools, &call("\"\u{e9}\"")).unwrap().len(), 3);
    assert_eq!(required(&tools, &call("\"\"")).unwrap().len(), 3);
}

#[test]
fn scopes_of_a_tool_and_of_the_method_are_added() {
    let tools = Tools::new().tool("a", ["x"]).tool("a", ["y"]).method("tools/call", ["call"]);
    let body = r#"{"id":1,"method":"tools/call","params":{"name":"a"}}"#;
    assert_eq!(required(&tools, body), Some(["call", "x", "y"].map(str::to_owned).into()));
    assert_eq!(required(&tools, r#"{"id":1,"method":"tools/list"}"#), Some(BTreeSet::new()));
    assert_eq!(required(&tools, r#"{"id":1,"result":{}}"#), Some(BTreeSet::new()));
}
