//! A stream of which something has been read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives `first` and then what `stream` gives; writes to `stream`.
#[derive(Debug)]
pub(crate) struct Rewind<S> {
    first: Vec<u8>,
    taken: usize,
    stream: S,
}

impl<S> Rewind<S> {
    pub(crate) fn new(stream: S, first: Vec<u8>) -> Self {
        Self { first, taken: 0, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.first.get(self.taken..).unwrap_or_default();
        if rest.is_empty() || buffer.remaining() == 0 {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = rest.split_at(rest.len().min(buffer.remaining()));
        buffer.put_slice(now);
        if later.is_empty() {
            (self.first, self.taken) = (Vec::new(), 0);
        } else {
            self.taken += now.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_was_read_comes_first() {
        for step in 1..9 {
            let (mut far, near) = tokio::io::duplex(64);
            far.write_all(b"defgh").await.unwrap();
            let mut rewind = Rewind::new(near, b"abc".to_vec());
            let (mut all, mut buffer) = (Vec::new(), vec![0; step]);
            while all.len() < 8 {
                let length = rewind.read(&mut buffer).await.unwrap();
                all.extend_from_slice(&buffer[..length]);
            }
            assert_eq!(all, b"abcdefgh");
            rewind.write_all(b"back").await.unwrap();
            drop(rewind);
            let mut back = String::new();
            far.read_to_string(&mut back).await.unwrap();
            assert_eq!(back, "back");
        }
    }
}
