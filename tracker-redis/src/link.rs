//! The connection to Redis: one server or a cluster, with bounded times, and made again when it is lost.

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take. Nobody who announces waits for so long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a cluster is asked again where it is being rebuilt.
const RETRIES: u32 = 2;

/// Where Redis is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// One server: `redis://host:port`.
    Single(String),
    /// Some nodes of a cluster; the others are found through them.
    Cluster(Vec<String>),
}

impl Address {
    /// Reads `redis://host:port` or `redis-cluster://host:port,host:port`; `valkey` means the same as `redis`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        match scheme {
            "redis" | "valkey" if !rest.is_empty() => Some(Self::Single(format!("redis://{rest}"))),
            "redis-cluster" | "valkey-cluster" => {
                let nodes = rest.split(',').filter(|node| !node.is_empty()).map(|node| format!("redis://{node}"));
                let nodes: Vec<_> = nodes.collect();
                (!nodes.is_empty()).then_some(Self::Cluster(nodes))
            }
            _ => None,
        }
    }
}

#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

enum Clients {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// A connection that any number of tasks share.
pub(crate) struct Link {
    clients: Clients,
    connection: Mutex<Option<Connection>>,
    /// Milliseconds from `begun` to the last answer.
    answered_ms: AtomicU64,
    begun: Instant,
}

impl Link {
    pub(crate) fn new(address: &Address) -> Result<Self, RedisError> {
        let clients = match address {
            Address::Single(url) => Clients::Single(Box::new(Client::open(url.as_str())?)),
            Address::Cluster(nodes) => {
                let builder = ClusterClient::builder(nodes.iter().map(String::as_str)).retries(RETRIES);
                let builder = builder.min_retry_wait(20).max_retry_wait(100);
                Clients::Cluster(Box::new(
                    builder.connection_timeout(CONNECT_TIMEOUT).response_timeout(ANSWER_TIMEOUT).build()?,
                ))
            }
        };
        Ok(Self { clients, connection: Mutex::new(None), answered_ms: AtomicU64::new(0), begun: Instant::now() })
    }

    /// Sends the commands in one go and reads the answers.
    pub(crate) async fn exchange<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, RedisError> {
        let outcome = match self.connection().await? {
            Connection::Single(mut connection) => commands.query_async(&mut connection).await,
            Connection::Cluster(mut connection) => commands.query_async(&mut connection).await,
        };
        match &outcome {
            Ok(_) => self.answered_ms.store(self.now_ms(), Relaxed),
            Err(error) if is_broken(error) && self.is_of_no_use() => *self.connection.lock().await = None,
            Err(_) => {}
        }
        outcome
    }

    /// Whether a connection on which something broke is to be made again. That to a cluster mends itself, and others use it
    /// for the masters that answer; unless nobody does.
    fn is_of_no_use(&self) -> bool {
        let silent_ms = self.now_ms().saturating_sub(self.answered_ms.load(Relaxed));
        matches!(self.clients, Clients::Single(_)) || u128::from(silent_ms) > (2 * ANSWER_TIMEOUT).as_millis()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn connection(&self) -> Result<Connection, RedisError> {
        let mut place = self.connection.lock().await;
        if let Some(connection) = &*place {
            return Ok(connection.clone());
        }
        let made = match &self.clients {
            Clients::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(ANSWER_TIMEOUT));
                Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
            Clients::Cluster(client) => {
                let made = tokio::time::timeout(2 * CONNECT_TIMEOUT, client.get_async_connection()).await;
                let timed_out = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
                Connection::Cluster(made.map_err(timed_out)??)
            }
        };
        *place = Some(made.clone());
        Ok(made)
    }
}

fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_timeout() || error.is_connection_dropped()
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(Address::parse("redis://h:1"), Some(Address::Single("redis://h:1".into())));
        assert_eq!(Address::parse("valkey://h"), Some(Address::Single("redis://h".into())));
        let nodes = vec!["redis://a:1".into(), "redis://b:2".into()];
        assert_eq!(Address::parse("valkey-cluster://a:1,b:2"), Some(Address::Cluster(nodes)));
        for bad in ["memory", "redis://", "redis-cluster://", "http://h"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }
}
