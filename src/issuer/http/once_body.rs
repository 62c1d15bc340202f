//! The body of a request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, MessageBody},
    web::Bytes,
};

/// A body that can be sent exactly once. By default awc follows redirects, and sends a plain body again after 307
/// and 308. With this body, a client of the application cannot send the client secret or the caller's token to
/// another server.
pub(super) struct OnceBody(pub(super) Bytes);

impl MessageBody for OnceBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let bytes = std::mem::take(&mut self.get_mut().0);
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
}
