//! Many connections from few hands: who gets in, and who gives way.

use super::*;

const KEEP_ALIVE: Duration = Duration::from_secs(30);

impl Bench {
    fn of_places(max_peers: usize) -> Self {
        let mut bench = Self::new("x.......");
        bench.swarm.config.max_peers = max_peers;
        bench
    }

    fn come(&mut self, ip: &str, id: u8) -> Result<PeerKey, CloseReason> {
        let address = SocketAddr::new(ip.parse().unwrap(), 6881);
        let mut peer_id = PeerId([id; 20]);
        // Never our own.
        peer_id.0[0] = 0xff;
        let connected = Connected { address, direction: Direction::Incoming, peer_id, reserved: ALL };
        let result = self.swarm.handle_connected(self.now, connected);
        self.outputs();
        result
    }

    /// A connection that says what costs nothing.
    fn pretend(&mut self, ip: &str, id: u8) -> Result<PeerKey, CloseReason> {
        let peer = self.come(ip, id)?;
        self.say(peer, Message::HaveNone);
        self.say(peer, Message::Interested);
        Ok(peer)
    }

    fn keep_alive(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            let peers: Vec<_> = self.swarm.peers.keys().copied().collect();
            peers.into_iter().for_each(|peer| drop(self.say(peer, Message::KeepAlive)));
            self.wait(KEEP_ALIVE);
        }
    }

    fn from(&self, prefix: &str) -> usize {
        self.swarm.peers.values().filter(|peer| peer.address.to_string().starts_with(prefix)).count()
    }
}

#[test]
fn one_host_may_fill_an_empty_swarm_and_gives_way_to_others() {
    let mut bench = Bench::of_places(16);
    let taken = (100..200).filter(|&id| bench.pretend("203.0.113.7", id).is_ok()).count();
    assert_eq!(taken, 16, "nobody else was there");
    for number in 0..12 {
        bench.come(&format!("198.51.{number}.1"), number).unwrap();
    }
    assert_eq!(bench.from("203.0.113.7"), 4, "a fourth stays");
    assert_eq!(bench.come("198.51.99.1", 99), Err(CloseReason::Crowded), "all have their share");
    assert_eq!(bench.pretend("203.0.113.7", 98), Err(CloseReason::Crowded));
}

#[test]
fn one_network_holds_half_of_the_places() {
    for (attacker, honest) in [("203.0.113.", "198.51."), ("2001:db8:1:", "2001:db8:")] {
        let mut bench = Bench::of_places(16);
        let v6 = attacker.contains(':');
        let from = |n: usize| if v6 { format!("{attacker}{n:x}::1") } else { format!("{attacker}{n}") };
        let other = |n: usize| if v6 { format!("{honest}{:x}::1", 0x100 + n) } else { format!("{honest}{n}.1") };
        for n in 1..=16 {
            bench.pretend(&from(n), 100 + u8::try_from(n).unwrap()).unwrap();
        }
        let taken = (1..=16).filter(|&n| bench.come(&other(n), u8::try_from(n).unwrap()).is_ok()).count();
        assert_eq!(taken, 8, "{attacker}");
    }
}

#[test]
fn neighbours_on_a_network_of_ones_own_know_no_shares() {
    let mut bench = Bench::of_places(16);
    for id in 100..116 {
        bench.pretend("192.168.1.7", id).unwrap();
    }
    assert_eq!(bench.come("192.168.1.8", 1), Err(CloseReason::Crowded));
}

#[test]
fn who_only_stays_alive_gives_way_and_who_trades_stays() {
    let mut bench = Bench::of_places(4);
    let (seed, blocks) = bench.seed(1);
    bench.deliver(seed, &blocks[..1]);
    bench.say(seed, Message::Choke);
    for block in bench.swarm.peers[&seed].download.requests.clone().into_iter().map(|pending| pending.block) {
        bench.say(seed, Message::Reject(block.piece().as_u32(), block.begin(), block.length()));
    }
    for number in 2..5 {
        bench.pretend(&format!("10.0.0.{number}"), number).unwrap();
    }
    assert_eq!(bench.come("10.0.0.5", 5), Err(CloseReason::Crowded), "everybody gets some time");
    bench.keep_alive(Duration::from_secs(60));
    for number in 5..8 {
        bench.come(&format!("10.0.0.{number}"), number).unwrap();
    }
    assert!(bench.swarm.peers.contains_key(&seed), "the one that gave us something");
    assert_eq!(bench.come("10.0.0.9", 9), Err(CloseReason::Crowded), "the newcomers have their time too");
}

#[test]
fn a_host_at_its_share_does_not_push_out_those_who_wait() {
    let mut bench = Bench::of_places(8);
    for number in 1..=6 {
        bench.pretend(&format!("198.51.{number}.1"), number).unwrap();
    }
    bench.pretend("203.0.113.7", 100).unwrap();
    bench.pretend("203.0.113.7", 101).unwrap();
    bench.keep_alive(Duration::from_secs(60));
    let taken = (102..200).filter(|&id| bench.pretend("203.0.113.7", id).is_ok()).count();
    assert_eq!((taken, bench.from("198.51.")), (0, 6));
}

#[test]
fn nobody_is_kept_out_by_someone_else_under_his_id() {
    let mut bench = Bench::of_places(16);
    bench.pretend("203.0.113.7", 1).unwrap();
    assert!(bench.come("198.51.100.1", 1).is_ok(), "ids are no secret");
    assert_eq!(bench.come("198.51.100.1", 1), Err(CloseReason::Duplicate));
    assert_eq!(bench.come("192.168.1.1", 1), Err(CloseReason::Duplicate), "one machine, two addresses");
}
