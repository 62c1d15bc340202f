//! A `tracing` subscriber of the thread of the test, which keeps spans and events.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    dispatcher::{self, DefaultGuard, Dispatch},
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_core::span::Current;

/// Names and values.
pub(crate) type Fields = BTreeMap<String, String>;

#[derive(Clone)]
pub(crate) struct SpanRecord {
    pub(crate) id: u64,
    pub(crate) metadata: &'static Metadata<'static>,
    pub(crate) parent: Option<u64>,
    pub(crate) fields: Fields,
    pub(crate) follows: Vec<u64>,
    handles: usize,
    pub(crate) is_closed: bool,
}

impl SpanRecord {
    pub(crate) fn name(&self) -> &'static str {
        self.metadata.name()
    }

    /// The value of a field; empty if it was not recorded.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

#[derive(Clone)]
pub(crate) struct EventRecord {
    pub(crate) level: Level,
    pub(crate) target: &'static str,
    pub(crate) fields: Fields,
}

impl EventRecord {
    /// The value of a field; empty if there is none.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

#[derive(Default)]
struct Content {
    spans: Vec<SpanRecord>,
    entered: Vec<u64>,
    events: Vec<EventRecord>,
}

/// Keeps the spans and events of this thread while it lives.
pub(crate) struct Recording {
    content: Arc<Mutex<Content>>,
    _guard: DefaultGuard,
}

struct Recorder {
    content: Arc<Mutex<Content>>,
    levels: LevelFilter,
}

impl Recording {
    /// Starts to record spans and events up to this level.
    pub(crate) fn start(levels: LevelFilter) -> Self {
        let content = Arc::<Mutex<Content>>::default();
        let recorder = Recorder { content: Arc::clone(&content), levels };
        Self { content, _guard: dispatcher::set_default(&Dispatch::new(recorder)) }
    }

    /// The spans of this crate and of the test, in the order of their start.
    pub(crate) fn spans(&self) -> Vec<SpanRecord> {
        lock(&self.content).spans.clone()
    }

    /// The spans with this name.
    pub(crate) fn named(&self, name: &str) -> Vec<SpanRecord> {
        self.spans().into_iter().filter(|span| span.name() == name).collect()
    }

    /// The only span with this name.
    #[track_caller]
    pub(crate) fn only(&self, name: &str) -> SpanRecord {
        let named = self.named(name);
        assert_eq!(named.len(), 1, "spans {name}");
        named[0].clone()
    }

    pub(crate) fn events(&self) -> Vec<EventRecord> {
        lock(&self.content).events.clone()
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    fn with<R>(&self, id: &Id, change: impl FnOnce(&mut SpanRecord) -> R) -> R {
        change(
            lock(&self.content).spans.iter_mut().find(|span| span.id == id.into_u64()).expect("a known span"),
        )
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let targets = ["actix_protect_api", "app"];
        targets.contains(&metadata.target()) && *metadata.level() <= self.levels
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.levels)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        attributes.record(&mut SpanReader(Reader(&mut fields)));
        let mut content = lock(&self.content);
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_contextual() => content.entered.last().copied(),
            None => None,
        };
        let id = u64::try_from(content.spans.len() + 1).unwrap();
        let metadata = attributes.metadata();
        let follows = Vec::new();
        content.spans.push(SpanRecord {
            id,
            metadata,
            parent,
            fields,
            follows,
            handles: 1,
            is_closed: false,
        });
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.with(span, |span| values.record(&mut SpanReader(Reader(&mut span.fields))));
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.with(span, |span| span.follows.push(follows.into_u64()));
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        lock(&self.content).events.push(EventRecord { level, target, fields });
    }

    fn enter(&self, span: &Id) {
        lock(&self.content).entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut content = lock(&self.content);
        let last = content.entered.iter().rposition(|id| *id == span.into_u64()).expect("an entered span");
        content.entered.remove(last);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.with(id, |span| span.handles += 1);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.with(&id, |span| {
            span.handles -= 1;
            span.is_closed = span.handles == 0;
            span.is_closed
        })
    }

    fn current_span(&self) -> Current {
        let content = lock(&self.content);
        let Some(last) = content.entered.last() else { return Current::none() };
        let span = content.spans.iter().find(|span| span.id == *last).expect("a known span");
        Current::new(Id::from_u64(span.id), span.metadata)
    }
}

struct Reader<'f>(&'f mut Fields);

impl Visit for Reader<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// Reads the fields of spans. `tracing-opentelemetry` exports an unsigned number as text, so they have none.
struct SpanReader<'f>(Reader<'f>);

impl Visit for SpanReader<'_> {
    fn record_u64(&mut self, field: &Field, _: u64) {
        panic!("{field} is an unsigned number");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.record_str(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.record_debug(field, value);
    }
}
