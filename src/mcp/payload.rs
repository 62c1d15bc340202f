//! Reads the body of a request, and passes it on.

use std::future::ready;

use actix_web::{
    HttpMessage as _,
    dev::{Payload, ServiceRequest},
    http::header::CONTENT_LENGTH,
    web::{Bytes, BytesMut},
};
use futures_util::{StreamExt as _, stream};

/// The reason why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayloadFault {
    TooLarge,
    Broken,
}

/// Reads the body of a request up to this length. The next service reads the same bytes again.
pub(super) async fn read(request: &mut ServiceRequest, max_body: usize) -> Result<Bytes, PayloadFault> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > max_body) {
        return Err(PayloadFault::TooLarge);
    }
    let mut payload = request.take_payload();
    let mut body = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| PayloadFault::Broken)?;
        if body.len() + rest.len() + chunk.len() > max_body {
            return Err(PayloadFault::TooLarge);
        }
        // A short body is one chunk, which is not copied.
        if body.is_empty() { body = chunk } else { rest.extend_from_slice(&chunk) }
    }
    if !rest.is_empty() {
        let mut whole = BytesMut::with_capacity(body.len() + rest.len());
        whole.extend_from_slice(&body);
        whole.extend_from_slice(&rest);
        body = whole.freeze();
    }
    let again = body.clone();
    request.set_payload(Payload::Stream { payload: Box::pin(stream::once(ready(Ok(again)))) });
    Ok(body)
}
