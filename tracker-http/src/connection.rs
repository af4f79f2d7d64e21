//! One connection: for how long, by which way, and how it ends.

use crate::answer::Origin;
use crate::fast::{End, Fast};
use crate::head::HEAD_LENGTH;
use crate::rewind::Rewind;
use crate::routes::Routes;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// A request's head must be here in this time; also the longest silence of a connection that is kept alive, and the time in
/// which an answer must be taken.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection lives longer, whatever its other end does or does not read.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How long requests under way may take to end at a shutdown.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// Headers of a request: clients send fewer than ten.
const HEADERS: usize = 64;

/// Serves a connection to its end: the usual requests fast, and all from the first unusual one on by hyper.
///
/// It does not come back from there: who has sent one unusual request will send more, and where nothing is handed back, no
/// byte can be taken for the end of one request here and for the beginning of another there.
pub(crate) async fn serve<S>(stream: S, origin: Origin, routes: Arc<Routes>, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let end_of_life = Instant::now() + CONNECTION_LIFETIME;
    let mut read = Vec::new();
    let mut stream = stream;
    if routes.fast_path {
        let mut fast = Fast::new(stream, origin, Arc::clone(&routes), HEAD_TIMEOUT);
        if !serve_fast(&mut fast, end_of_life, &mut stopped).await {
            return;
        }
        (stream, read) = fast.into_parts();
    }
    serve_by_hyper(Rewind::new(stream, read), origin, &routes, end_of_life, stopped).await;
}

/// Whether something is left for hyper.
async fn serve_fast<S>(fast: &mut Fast<S>, end_of_life: Instant, stopped: &mut watch::Receiver<()>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut timer = pin!(sleep_until(fast.deadline()));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|context| fast.poll_serve(context)) => return match ended {
                Ok(End::Unusual) => true,
                Ok(End::Closed) => {
                    // Over TLS it is said, and somebody must take that.
                    let _ = timeout_at(fast.deadline(), fast.close()).await;
                    false
                }
                Err(error) => {
                    tracing::debug!(%error, "connection ended");
                    false
                }
            },
            // Requests move the deadline and not the timer, which is set anew when it was too early: once in ten seconds.
            () = timer.as_mut() => {
                let due = fast.deadline().min(end_of_life);
                if Instant::now() >= due {
                    return false;
                }
                timer.as_mut().reset(due);
            }
            _ = stopped.changed() => {
                let _ = timeout(SHUTDOWN_GRACE, poll_fn(|context| fast.poll_send(context))).await;
                return false;
            }
        }
    }
}

async fn serve_by_hyper<S>(
    stream: S,
    origin: Origin,
    routes: &Routes,
    end_of_life: Instant,
    mut stopped: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<Response<Full<Bytes>>, Infallible>(routes.respond(origin, request).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LENGTH)
        .max_header_size(HEAD_LENGTH)
        .max_headers(HEADERS)
        // Who ends his side behind his last request is answered all the same, however close behind it.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = timeout_at(end_of_life, connection.as_mut()) => ended.unwrap_or(Ok(())),
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            timeout(SHUTDOWN_GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(ip = %origin.ip, %error, "connection ended");
    }
}
