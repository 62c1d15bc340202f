use super::*;

/// The messages of a body; `None` if it is not JSON.
fn messages(body: &str) -> Option<(Form, Vec<Message<'_>>)> {
    let mut messages = Vec::new();
    let form = read(body.as_bytes(), &mut |message| messages.push(message)).ok()?;
    Some((form, messages))
}

fn single(body: &str) -> Message<'_> {
    let (form, mut messages) = messages(body).unwrap();
    assert_eq!((form, messages.len()), (Form::Single, 1), "{body}");
    messages.remove(0)
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Text(text.into()))
}

#[test]
fn a_call_is_read_without_copies() {
    let body = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a\u0062","arguments":{"name":"z","method":[1,{}]},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let Message::Call(call) = single(body) else { panic!("not a call") };
    assert!(matches!(&call.method, Text(std::borrow::Cow::Borrowed("tools/call"))));
    assert_eq!((call.name, call.uri, call.version), (text("ab"), Value::Null, text("2026-07-28")));
    assert_eq!(call.id, Some(Id::Text(Text("x".into()))));
}

#[test]
fn ids_are_strings_or_integers() {
    for (id, expected) in [
        ("7", Id::Number(7)),
        ("-1", Id::Number(-1)),
        ("\"a\"", Id::Text(Text("a".into()))),
        ("1.5", Id::Other),
        ("18446744073709551615", Id::Other),
        ("null", Id::Other),
        ("[1,[]]", Id::Other),
        ("{\"a\":{}}", Id::Other),
    ] {
        let body = format!("{{\"id\":{id},\"method\":\"ping\"}}");
        let Message::Call(call) = single(&body) else { panic!("{body}") };
        assert_eq!(call.id, Some(expected), "{body}");
    }
}

#[test]
fn a_message_without_a_method_is_a_response_or_ambiguous() {
    assert_eq!(single(r#"{"id":1,"result":{}}"#), Message::Response);
    assert_eq!(single(r#"{"id":1,"error":null}"#), Message::Response);
    for body in ["{}", "null", "1", "\"tools/call\"", "true", "1.5", r#"{"params":{"name":"a"}}"#] {
        assert_eq!(single(body), Message::Ambiguous, "{body}");
    }
}

#[test]
fn a_part_that_may_be_read_differently_makes_the_message_ambiguous() {
    for body in [
        r#"{"method":"a","method":"a"}"#,
        r#"{"method":"a","m\u0065thod":"a"}"#,
        r#"{"method":"a","Method":"b"}"#,
        r#"{"method":"a","\u212aind":1,"param\u017f":{}}"#,
        r#"{"method":"a"," method":"b"}"#,
        r#"{"method":1}"#,
        r#"{"method":{"tools/call":1}}"#,
        r#"{"method":null,"result":1}"#,
        r#"{"method":"a","$serde_json::private::RawValue":"1"}"#,
        r#"{"method":"a","params":{},"params":{}}"#,
        r#"{"method":"a","params":[]}"#,
        r#"{"method":"a","params":"x"}"#,
        r#"{"method":"a","params":{"name":"a","name":"b"}}"#,
        r#"{"method":"a","params":{"name":"a","NAME":"b"}}"#,
        r#"{"method":"a","params":{"$serde_json::private::RawValue":"{}"}}"#,
        r#"{"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1}}}"#,
        r#"{"method":"a","params":{"_meta":[]}}"#,
        r#"{"method":"a","params":{"_meta":{},"_meta":{}}}"#,
        r#"{"id":1,"id":2,"method":"a"}"#,
    ] {
        assert_eq!(single(body), Message::Ambiguous, "{body}");
    }
    for clear in [
        r#"{"method":"a","params":{"arguments":{"name":1,"name":2},"_meta":{"$schema":1},"$ref":2}}"#,
        r#"{"method":"a","params":{"name":5,"_meta":null}}"#,
        r#"{"method":"a","params":null,"other":1,"other":2}"#,
    ] {
        assert!(matches!(single(clear), Message::Call(_)), "{clear}");
    }
}

#[test]
fn a_batch_has_all_its_messages() {
    let body = r#"[{"method":"a"},[],1,{"id":1,"result":2},null,"x",[{"method":"b"}]]"#;
    let (form, messages) = messages(body).unwrap();
    assert_eq!((form, messages.len()), (Form::Batch, 7));
    assert_eq!(messages.iter().filter(|message| **message == Message::Ambiguous).count(), 5);
    assert!(read(b"[]", &mut |_| panic!("a message")).is_ok());
}

#[test]
fn other_bodies_are_not_json() {
    let deep = format!("{{\"method\":{}", "[".repeat(100_000));
    for body in
        ["", " ", "{", "{}x", "{} {}", "\u{feff}{}", "{'method':1}", "{\"method\":\"\\ud800\"}", &deep]
    {
        assert!(messages(body).is_none(), "{body:.40}");
    }
    assert!(read(b"{\"method\":\"\xff\"}", &mut |_| ()).is_err());
    // A deep value that is skipped is no error, and needs no stack.
    let deep = format!("{{\"method\":\"a\",\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(single(&deep), Message::Call(_)));
}
