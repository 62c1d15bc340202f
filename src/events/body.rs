//! Bodies of requests from anybody: limited in size and time.

use actix_web::{
    HttpRequest,
    http::header::{CONTENT_LENGTH, CONTENT_TYPE},
    web,
};
use futures_util::StreamExt as _;

use crate::{
    deadline::Deadline,
    error::{AuthError, AuthErrorKind, RequestFault},
};

/// The longest body, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// The reason why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    TooLarge,
    TimedOut,
    Broken,
}

impl BodyFault {
    /// Returns the error for log records.
    pub(super) fn error(self) -> AuthError {
        AuthError::new(AuthErrorKind::InvalidRequest(RequestFault::Body)).with_source(match self {
            Self::TooLarge => "it is longer than 64 KiB",
            Self::TimedOut => "it did not arrive in time",
            Self::Broken => "it is malformed",
        })
    }
}

/// Reads the body of a request.
pub(super) async fn read(
    request: &HttpRequest,
    mut payload: web::Payload,
    deadline: Deadline,
) -> Result<Vec<u8>, BodyFault> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > MAX_BODY) {
        return Err(BodyFault::TooLarge);
    }
    let reading = async {
        let mut body = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| BodyFault::Broken)?;
            if body.len() + chunk.len() > MAX_BODY {
                return Err(BodyFault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    deadline.wait(reading).await.unwrap_or(Err(BodyFault::TimedOut))
}

/// Returns whether the request has exactly one `Content-Type` with this media type.
pub(super) fn has_type(request: &HttpRequest, media_type: &str) -> bool {
    let mut values = request.headers().get_all(CONTENT_TYPE);
    let first = values.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = first.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type) && values.next().is_none()
}
