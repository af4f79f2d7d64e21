//! Letting connections in, as many as there are places.

use crate::answer::Origin;
use crate::connection;
use crate::places::Places;
use crate::routes::Routes;
use crate::tls::Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Pause after the system could not give us another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection gets with it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) routes: Arc<Routes>,
    pub(crate) places: Places,
    pub(crate) stopped: watch::Receiver<()>,
}

/// Accepts connections, and goes on if that panics.
pub(crate) async fn keep_accepting(listener: TcpListener, tls: Option<Arc<Tls>>, door: Door) {
    let (listener, mut accepting) = (Arc::new(listener), JoinSet::new());
    loop {
        accepting.spawn(accept(Arc::clone(&listener), tls.clone(), door.clone()));
        match accepting.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!("accepting connections failed by a fault of this program; it goes on");
                sleep(ACCEPT_PAUSE).await;
            }
            _ => return,
        }
    }
}

async fn accept(listener: Arc<TcpListener>, tls: Option<Arc<Tls>>, door: Door) {
    let Door { routes, places, stopped } = door;
    while let Some(room) = places.free().await {
        match listener.accept().await {
            Ok((stream, address)) => {
                let origin = routes.answers.origin(address);
                let Some(place) = places.take(room, address.ip(), origin.proxy) else {
                    tracing::debug!(%address, "too many connections from there");
                    continue;
                };
                let (routes, stopped) = (Arc::clone(&routes), stopped.clone());
                // Two kinds of tasks: the small ones shall not take the memory of the others.
                if let Some(tls) = tls.clone() {
                    tokio::spawn(async move {
                        serve_over_tls(stream, &tls, origin, routes, stopped).await;
                        drop(place);
                    });
                } else {
                    tokio::spawn(async move {
                        connection::serve(stream, origin, routes, stopped).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_over_tls(
    stream: TcpStream,
    tls: &Tls,
    origin: Origin,
    routes: Arc<Routes>,
    mut stopped: watch::Receiver<()>,
) {
    let agreed = tokio::select! {
        agreed = tls.accept(stream) => agreed,
        _ = stopped.changed() => return,
    };
    match agreed {
        Ok(stream) => connection::serve(stream, origin, routes, stopped).await,
        Err(error) => tracing::debug!(ip = %origin.ip, %error, "no TLS"),
    }
}
