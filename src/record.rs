//! Writes log records. With the feature `tracing`, a record is an event of the `tracing` subscriber of the thread if there
//! is one. It is then no record of `log`: a bridge between the two would show it twice.

/// Writes a record: `record!(level, event = "…", key, key = value; "text {}", argument)`. `level` is a [`log::Level`].
#[cfg(not(feature = "tracing"))]
macro_rules! record {
    ($level:expr, $($record:tt)+) => {
        log::log!(target: $crate::LOG, $level, $($record)+)
    };
}

/// Writes a record, as above. The level of an event is a part of its callsite, so each level has one.
#[cfg(feature = "tracing")]
macro_rules! record {
    (@$level:ident $($key:ident $(= $value:expr)?),+; $($text:tt)+) => {
        tracing::event!(target: $crate::LOG, tracing::Level::$level, $($key $(= $value)?,)+ $($text)+)
    };
    ($level:expr, $($record:tt)+) => {
        if $crate::record::has_subscriber() {
            match $level {
                log::Level::Error => record!(@ERROR $($record)+),
                log::Level::Warn => record!(@WARN $($record)+),
                log::Level::Info => record!(@INFO $($record)+),
                log::Level::Debug => record!(@DEBUG $($record)+),
                log::Level::Trace => record!(@TRACE $($record)+),
            }
        } else {
            log::log!(target: $crate::LOG, $level, $($record)+);
        }
    };
}

/// Returns whether a record of this level is written.
pub(crate) fn is_enabled(level: log::Level) -> bool {
    #[cfg(feature = "tracing")]
    if has_subscriber() {
        return match level {
            log::Level::Error => tracing::enabled!(target: crate::LOG, tracing::Level::ERROR),
            log::Level::Warn => tracing::enabled!(target: crate::LOG, tracing::Level::WARN),
            log::Level::Info => tracing::enabled!(target: crate::LOG, tracing::Level::INFO),
            log::Level::Debug => tracing::enabled!(target: crate::LOG, tracing::Level::DEBUG),
            log::Level::Trace => tracing::enabled!(target: crate::LOG, tracing::Level::TRACE),
        };
    }
    log::log_enabled!(target: crate::LOG, level)
}

/// Returns whether this thread has a `tracing` subscriber. Without any in the process, this is one atomic load.
#[cfg(feature = "tracing")]
pub(crate) fn has_subscriber() -> bool {
    use tracing::{dispatcher, level_filters::LevelFilter, subscriber::NoSubscriber};

    LevelFilter::current() != LevelFilter::OFF
        && dispatcher::get_default(|dispatch| !dispatch.is::<NoSubscriber>())
}
