//! Several nodes of a tracker over real Redis servers, which are killed, restarted and failed over while peers announce.
//!
//! `redis_nodes single|cluster [SECONDS]` needs `redis-server` and `redis-cli` in the path, and works in a temporary folder
//! with free ports. It asserts that no answer has a peer in it that never announced, that no announce waits for longer than
//! its patience, that the nodes say when Redis is gone, and that everybody is found from every node once all have
//! announced again. It prints what went over the wire.

use anyhow::{Context, Result, bail, ensure};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_tracker_core::{CompactPeers, Dialect, Rates, Remote, Store, StoreAnnounce, StoreConfig};
use swarm_tracker_redis::{Address, RedisConfig, RedisStats, RedisStore};

const NODES: usize = 3;
const TORRENTS: u32 = 400;
const PEERS: u32 = 6;
/// Beyond the patience of an announce: what a busy machine takes to wake somebody up.
const SPARE: Duration = Duration::from_millis(500);

/// A Redis server; killed with its owner.
struct Server {
    port: u16,
    folder: PathBuf,
    cluster: bool,
    child: Child,
}

impl Server {
    fn start(folder: &Path, port: u16, cluster: bool) -> Result<Self> {
        let folder = folder.join(port.to_string());
        std::fs::create_dir_all(&folder)?;
        let child = Self::spawn(&folder, port, cluster)?;
        Ok(Self { port, folder, cluster, child })
    }

    fn spawn(folder: &Path, port: u16, cluster: bool) -> Result<Child> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        if cluster {
            command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"]);
            command.args(["--cluster-config-file", "nodes.conf"]);
        }
        let child = command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.context("redis-server cannot be started; install it first")?;
        until("a server listens", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })?;
        Ok(child)
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn restart(&mut self) -> Result<()> {
        self.child = Self::spawn(&self.folder, self.port, self.cluster)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn until(what: &str, most: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        ensure!(start.elapsed() < most, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The port of a cluster's server must leave room for that of its bus, 10,000 higher.
fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let port = if port > 50_000 { port - 20_000 } else { port };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}

fn cli(port: u16, arguments: &[&str]) -> Result<String> {
    let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Three masters, and a replica of each.
fn cluster(folder: &Path) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for _ in 0..2 * NODES {
        servers.push(Server::start(folder, free_port()?, true)?);
    }
    let addresses: Vec<_> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let mut arguments = vec!["--cluster", "create"];
    arguments.extend(addresses.iter().map(String::as_str));
    arguments.extend(["--cluster-replicas", "1", "--cluster-yes"]);
    let said = cli(servers[0].port, &arguments)?;
    ensure!(said.contains("All 16384 slots covered"), "no cluster: {said}");
    until("all nodes know the cluster", Duration::from_secs(20), || {
        servers
            .iter()
            .all(|server| cli(server.port, &["cluster", "info"]).is_ok_and(|info| info.contains("cluster_state:ok")))
    })?;
    Ok(servers)
}

struct Node {
    store: Arc<Store>,
    redis: Arc<RedisStore>,
}

fn nodes(address: &Address, fresh: Duration) -> Result<Vec<Node>> {
    let node = |_| {
        let config = StoreConfig { rates: Rates::UNLIMITED, ..StoreConfig::default() };
        let store = Arc::new(Store::new(config, Instant::now()));
        let config = RedisConfig { fresh, ..RedisConfig::new(address.clone()) };
        let redis = RedisStore::attach(config, &store)?;
        Ok(Node { store, redis })
    };
    (0..NODES).map(node).collect()
}

fn address(torrent: u32, peer: u32) -> SocketAddr {
    let [_, a, b, c] = (torrent * PEERS + peer).to_be_bytes();
    SocketAddr::from(([11, a, b, c], 6_881))
}

fn announce(torrent: u32, peer: u32, event: AnnounceEvent) -> StoreAnnounce<'static> {
    let mut hash = [0x7d; 20];
    hash[..4].copy_from_slice(&torrent.wrapping_mul(0x9e37_79b1).to_be_bytes());
    let mut id = [0; 20];
    id[..4].copy_from_slice(&(torrent * PEERS + peer + 1).to_be_bytes());
    StoreAnnounce {
        info_hash: InfoHash(hash),
        peer_id: PeerId(id),
        address: address(torrent, peer),
        left: u64::from(peer % 2),
        event,
        num_want: Some(50),
        dialect: Dialect::Http,
        passkey: None,
    }
}

/// What a round of announces came to.
#[derive(Default, Debug)]
struct Round {
    announces: u64,
    waited: u64,
    longest: Duration,
    /// Peers that were not told of.
    missing: u64,
}

/// Announces one peer and checks the answer; `true` if all others of its torrent are in it, as far as they should be.
async fn ask(node: &Node, torrent: u32, peer: u32, round: &mut Round) -> Result<()> {
    let request = announce(torrent, peer, AnnounceEvent::Regular);
    let mut out = CompactPeers::default();
    let start = Instant::now();
    let (_, wait) = node.store.announce_or_wait(start, &request, &mut out)?;
    if let Some(wait) = wait {
        round.waited += 1;
        wait.await;
        node.store.answer_into(&request, &mut out);
    }
    round.announces += 1;
    round.longest = round.longest.max(start.elapsed());
    for told in out.iter() {
        ensure!((0..PEERS).any(|other| address(torrent, other) == told), "told of {told}, which is of another torrent");
    }
    // Seeds are told of leechers only.
    let wanted = if request.left == 0 { PEERS / 2 } else { PEERS - 1 };
    round.missing += u64::from(wanted.saturating_sub(out.len() as u32));
    Ok(())
}

/// Every peer announces once, to another node each time.
async fn everybody(nodes: &[Node], turn: u32) -> Result<Round> {
    let mut round = Round::default();
    for peer in 0..PEERS {
        for torrent in 0..TORRENTS {
            let node = &nodes[((torrent + peer + turn) as usize) % NODES];
            ask(node, torrent, peer, &mut round).await?;
        }
    }
    Ok(round)
}

fn patient(round: &Round, when: &str) -> Result<()> {
    let most = RedisConfig::new(Address::Single(String::new())).patience + SPARE;
    println!("{when}: {round:?}");
    ensure!(round.longest < most, "an announce took {:?} {when}", round.longest);
    Ok(())
}

/// Everybody announces, and is then found from every node: in two rounds, which is within one interval.
async fn all_are_found(nodes: &[Node], when: &str) -> Result<()> {
    everybody(nodes, 0).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let round = everybody(nodes, 1).await?;
    patient(&round, when)?;
    ensure!(round.missing == 0, "{} peers are missing {when}", round.missing);
    Ok(())
}

/// Peers announce while the servers are made to suffer; nobody may wait, and nothing may be wrong.
async fn under_load(
    nodes: &[Node],
    seconds: u64,
    mut suffer: impl AsyncFnMut(u64) -> Result<()>,
    when: &str,
) -> Result<()> {
    let (start, mut all, mut turn) = (Instant::now(), Round::default(), 0);
    for second in 0..seconds {
        suffer(second).await?;
        while start.elapsed() < Duration::from_secs(second + 1) {
            turn += 1;
            for torrent in 0..TORRENTS / 8 {
                let peer = turn % PEERS;
                ask(&nodes[(turn as usize + torrent as usize) % NODES], torrent, peer, &mut all).await?;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    patient(&all, when)
}

async fn departures(nodes: &[Node], fresh: Duration) -> Result<()> {
    for torrent in 0..TORRENTS {
        let stopped = announce(torrent, 0, AnnounceEvent::Stopped);
        nodes[torrent as usize % NODES].store.announce(Instant::now(), &stopped)?;
    }
    tokio::time::sleep(fresh + Duration::from_millis(300)).await;
    let mut out = CompactPeers::default();
    for torrent in 0..TORRENTS {
        let request = announce(torrent, 1, AnnounceEvent::Regular);
        let node = &nodes[(torrent as usize + 1) % NODES];
        let (_, wait) = node.store.announce_or_wait(Instant::now(), &request, &mut out)?;
        if let Some(wait) = wait {
            wait.await;
            node.store.answer_into(&request, &mut out);
        }
        // A node that heard the peer itself keeps it until it expires.
        let heard_here = node.store.peers(&request.info_hash, 99).iter().any(|it| it.address == address(torrent, 0));
        let told = out.iter().any(|peer| peer == address(torrent, 0));
        ensure!(!told || heard_here, "torrent {torrent}: a peer that has left is told of");
    }
    println!("who leaves is gone from nodes that only heard of it");
    Ok(())
}

/// What an announce costs: one that is read, and one that is written only.
async fn measure(address: &Address) -> Result<()> {
    for (fresh, what) in
        [(Duration::ZERO, "every announce reads"), (Duration::from_secs(30), "swarms are fresh for 30 s")]
    {
        let nodes = Arc::new(nodes(address, fresh)?);
        everybody(&nodes, 0).await?;
        let before: Vec<RedisStats> = nodes.iter().map(|node| node.redis.stats()).collect();
        let (start, tasks, each) = (Instant::now(), 64_u32, 300_u32);
        let work = (0..tasks).map(|task| {
            let nodes = Arc::clone(&nodes);
            tokio::spawn(async move {
                let mut round = Round::default();
                for n in 0..each {
                    let number = (task * each + n).wrapping_mul(0x9e37_79b1) >> 8;
                    let node = &nodes[number as usize % NODES];
                    ask(node, number / 7 % TORRENTS, number % PEERS, &mut round).await?;
                }
                anyhow::Ok(round)
            })
        });
        for task in work.collect::<Vec<_>>() {
            task.await??;
        }
        let took = start.elapsed().as_secs_f64();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let total = |of: fn(&RedisStats) -> u64| {
            let after: u64 = nodes.iter().map(|node| of(&node.redis.stats())).sum();
            (after - before.iter().map(of).sum::<u64>()) as f64 / f64::from(tasks * each)
        };
        println!(
            "{what}: {:.0} announces/s by 64 askers; an announce: {:.3} round trips, {:.0} B out, {:.0} B of peers in",
            f64::from(tasks * each) / took,
            total(|stats| stats.round_trips),
            total(|stats| stats.bytes_out),
            total(|stats| stats.bytes_in),
        );
    }
    Ok(())
}

async fn single(folder: &Path, seconds: u64) -> Result<()> {
    let mut server = Server::start(folder, free_port()?, false)?;
    let address = Address::Single(format!("redis://127.0.0.1:{}", server.port));
    measure(&address).await?;
    let used = cli(
        server.port,
        &["memory", "usage", &format!("swarm:{{{}}}", announce(1, 0, AnnounceEvent::Regular).info_hash)],
    )?;
    println!("a swarm of {PEERS} takes {} B of Redis", used.trim());
    let fresh = Duration::from_millis(100);
    let nodes = nodes(&address, fresh)?;
    all_are_found(&nodes, "with Redis").await?;
    departures(&nodes, fresh).await?;
    server.kill();
    let round = everybody(&nodes, 2).await?;
    patient(&round, "as Redis has gone")?;
    until("the nodes say that Redis is gone", Duration::from_secs(5), || {
        nodes.iter().all(|node| !node.redis.health().up)
    })?;
    println!("{:?}", nodes[0].redis.health());
    let round = everybody(&nodes, 3).await?;
    patient(&round, "without Redis")?;
    ensure!(round.waited == 0, "{} announces waited for what is not there", round.waited);
    server.restart()?;
    let mut turn = 4;
    while nodes.iter().any(|node| !node.redis.health().up) {
        ensure!(turn < 40, "Redis is back, and the nodes do not see it");
        everybody(&nodes, turn).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        turn += 1;
    }
    all_are_found(&nodes, "with Redis again, which has forgotten everything").await?;
    under_load(
        &nodes,
        seconds,
        async |second| {
            match second % 4 {
                1 => server.kill(),
                2 => server.restart()?,
                _ => {}
            }
            Ok(())
        },
        "while Redis comes and goes",
    )
    .await
}

/// Whether the swarm of a torrent is on this server of a cluster.
fn is_on(server: &Server, torrent: u32, slots: &[std::ops::RangeInclusive<u32>]) -> Result<bool> {
    let key = format!("swarm:{{{}}}", announce(torrent, 0, AnnounceEvent::Regular).info_hash);
    let slot: u32 = cli(server.port, &["cluster", "keyslot", &key])?.trim().parse()?;
    Ok(slots.iter().any(|range| range.contains(&slot)))
}

/// The slots of a master, as its own line tells them.
fn slots(server: &Server) -> Result<Vec<std::ops::RangeInclusive<u32>>> {
    let nodes = cli(server.port, &["cluster", "nodes"])?;
    let own = nodes.lines().find(|line| line.contains("myself,master")).context("it is no master")?;
    let ranges = own.split(' ').skip(8).map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        anyhow::Ok(first.parse()?..=last.parse()?)
    });
    ranges.collect()
}

/// A master is silent, and for a long time nobody takes over: the torrents of the others are read as before.
async fn one_is_silent(nodes: &[Node], servers: &mut [Server], how: &str) -> Result<()> {
    const ROUNDS: u32 = 40;
    let timeout = |servers: &[Server], ms: &str| {
        servers.iter().try_for_each(|it| cli(it.port, &["config", "set", "cluster-node-timeout", ms]).map(drop))
    };
    let gone = slots(&servers[0])?;
    let of_gone = |torrent: &u32| is_on(&servers[1], *torrent, &gone);
    let torrents = (0..90).map(|torrent| Ok((torrent, of_gone(&torrent)?))).collect::<Result<Vec<_>>>()?;
    timeout(servers, "60000")?;
    let child = servers[0].child.id().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &child]).status().map(drop);
    match how {
        "killed" => servers[0].kill(),
        _ => signal("-STOP")?,
    }
    let (mut well, mut ill) = (Round::default(), Round::default());
    for turn in 0..ROUNDS {
        // Longer than what was read is fresh.
        tokio::time::sleep(Duration::from_millis(150)).await;
        for (torrent, is_gone) in &torrents {
            let node = &nodes[(turn + torrent) as usize % NODES];
            ask(node, *torrent, turn % PEERS, if *is_gone { &mut ill } else { &mut well }).await?;
        }
    }
    patient(&well, &format!("one master {how}, swarms of others"))?;
    patient(&ill, &format!("one master {how}, its own swarms"))?;
    println!("{}", nodes[0].redis.health().text);
    ensure!(!nodes[0].redis.health().up, "nobody says that a master is silent");
    let share = well.waited as f64 / well.announces as f64;
    println!("{:.1} % of the announces for swarms of other masters were answered by Redis", 100.0 * share);
    match how {
        "killed" => servers[0].restart()?,
        _ => signal("-CONT")?,
    }
    timeout(servers, "1500")?;
    until("the cluster is whole", Duration::from_secs(20), || {
        servers.iter().all(|it| cli(it.port, &["cluster", "info"]).is_ok_and(|info| info.contains("cluster_state:ok")))
    })?;
    ensure!(share > 0.9, "a master that is silent holds up the swarms of others");
    for turn in 0.. {
        everybody(nodes, turn).await?;
        if nodes.iter().all(|node| node.redis.health().up) {
            break;
        }
        ensure!(turn < 40, "the master is back, and the nodes do not see it");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    all_are_found(nodes, "with all masters again").await
}

async fn clustered(folder: &Path, seconds: u64) -> Result<()> {
    let mut servers = cluster(folder)?;
    let address = Address::Cluster(servers.iter().map(|it| format!("redis://127.0.0.1:{}", it.port)).collect());
    measure(&address).await?;
    let nodes = nodes(&address, Duration::from_millis(100))?;
    all_are_found(&nodes, "with the cluster").await?;
    one_is_silent(&nodes, &mut servers, "stopped").await?;
    one_is_silent(&nodes, &mut servers, "killed").await?;
    under_load(
        &nodes,
        seconds.max(12),
        async |second| {
            match second {
                // A master goes, its replica takes over, it comes back as a replica; then the next one.
                2 => servers[0].kill(),
                7 => servers[0].restart()?,
                9 => servers[1].kill(),
                _ => {}
            }
            Ok(())
        },
        "while masters of the cluster fail over",
    )
    .await?;
    let ok =
        |server: &Server| cli(server.port, &["cluster", "info"]).is_ok_and(|info| info.contains("cluster_state:ok"));
    until("the cluster has healed", Duration::from_secs(30), || ok(&servers[2]) && ok(&servers[0]))?;
    let mut turn = 0;
    loop {
        let round = everybody(&nodes, turn).await?;
        if round.missing == 0 && nodes.iter().all(|node| node.redis.health().up) {
            break;
        }
        turn += 1;
        ensure!(turn < 40, "the cluster has healed, and {} peers are missing", round.missing);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!("healed after {turn} more rounds");
    all_are_found(&nodes, "with the healed cluster").await
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().context("single or cluster?")?;
    let seconds = arguments.next().map_or(Ok(12), |text| text.parse())?;
    let folder = std::env::temp_dir().join(format!("swarm-redis-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = match kind.as_str() {
        "single" => single(&folder, seconds).await,
        "cluster" => clustered(&folder, seconds).await,
        _ => bail!("single or cluster?"),
    };
    std::fs::remove_dir_all(&folder)?;
    outcome.inspect(|()| println!("all of it held"))
}
