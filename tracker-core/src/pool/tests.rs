use super::*;
use crate::record::{PeerTag, V4};
use proptest::prelude::*;
use std::collections::HashMap;

/// A few lists that share a pool, beside plain maps.
struct World {
    pool: Pool<V4>,
    lists: Vec<List>,
    models: Vec<HashMap<[u8; V4], (u16, bool)>>,
    hasher: RandomState,
}

fn address(number: u16) -> [u8; V4] {
    let [high, low] = number.to_be_bytes();
    [192, 0, 2, 1, high, low]
}

impl World {
    fn new(lists: usize) -> Self {
        let hasher = RandomState::new();
        Self { pool: Pool::new(), lists: vec![List::default(); lists], models: vec![HashMap::new(); lists], hasher }
    }

    fn put(&mut self, number: usize, port: u16, tag: u16, seed: bool) {
        let (bytes, record) = (address(port), Record::new(address(port), PeerTag::from_bits(tag), 9, 0));
        match self.pool.find(self.lists[number], &bytes, &self.hasher) {
            Some(index) => {
                *self.pool.record_mut(self.lists[number], index).unwrap() = record;
                match (index < self.pool.seeds(self.lists[number]), seed) {
                    (false, true) => self.pool.make_seed(&mut self.lists[number], index, &self.hasher),
                    (true, false) => self.pool.make_leecher(&mut self.lists[number], index, &self.hasher),
                    _ => {}
                }
            }
            None => {
                if self.pool.lacks_room(self.lists[number]) {
                    self.pool.make_room(self.lists.iter_mut());
                }
                self.pool.add(&mut self.lists[number], record, seed, &self.hasher);
            }
        }
        self.models[number].insert(bytes, (record.tag().bits(), seed));
    }

    fn remove(&mut self, number: usize, port: u16) {
        let place = self.pool.find(self.lists[number], &address(port), &self.hasher);
        assert_eq!(place.is_some(), self.models[number].remove(&address(port)).is_some());
        if let Some(place) = place {
            let gone = self.pool.remove(&mut self.lists[number], place, &self.hasher);
            assert_eq!(gone.map(|gone| gone.address), Some(address(port)));
        }
        if self.pool.is_loose() {
            self.pool.make_room(self.lists.iter_mut());
        }
    }

    fn clear(&mut self, number: usize) {
        self.pool.clear(&mut self.lists[number]);
        self.models[number].clear();
    }

    fn check(&self) {
        self.pool.check_invariants(&self.lists, &self.hasher);
        for (list, model) in self.lists.iter().zip(&self.models) {
            let peers = self.pool.peers(*list);
            let found = (0..peers.len()).filter_map(|index| Some((peers.get(index)?, index < peers.seeds())));
            let found: HashMap<_, _> = found.map(|(peer, seed)| (peer.address, (peer.tag().bits(), seed))).collect();
            assert_eq!(found, *model);
            assert_eq!(peers.len(), model.len(), "a peer twice");
            let is_large = list.is_large();
            assert!(!is_large || model.len() > SMALL_AGAIN, "large with {}", model.len());
            assert!(is_large || model.len() <= SMALL, "small with {}", model.len());
        }
    }
}

proptest! {
    /// Single steps among few peers, and many at once, so that lists grow large and small again.
    #[test]
    fn lists_are_what_plain_maps_are(steps in prop::collection::vec((0u8..8, 0usize..3, 0u16..200, any::<u16>()), 0..60)) {
        let mut world = World::new(3);
        for (action, number, port, tag) in steps {
            match action {
                0..=2 => world.put(number, port, tag, tag % 3 == 0),
                3 => world.remove(number, port),
                4 => (0..port).for_each(|more| world.put(number, more * 7 % 900, tag ^ more, more % 5 == 0)),
                5 => (0..port).for_each(|less| world.remove(number, less * 11 % 900)),
                6 => world.pool.make_room(world.lists.iter_mut()),
                _ if port < 40 => world.clear(number),
                _ => {}
            }
            world.check();
        }
    }
}

#[test]
fn tens_of_thousands_come_and_go() {
    let mut world = World::new(2);
    for port in 0..20_000 {
        world.put(0, port, port, port % 4 == 0);
        if port % 100 == 0 {
            world.put(1, port, port, true);
        }
    }
    world.check();
    for port in (0..20_000_u16).filter(|port| port % 50 != 0) {
        world.remove(0, port.wrapping_mul(7) % 20_000);
    }
    world.check();
    for port in 0..20_000 {
        world.remove(0, port);
    }
    world.check();
    assert_eq!((world.pool.len(world.lists[0]), world.pool.large_peers), (0, 200));
}

#[test]
fn a_swarm_of_six_takes_sixty_bytes_and_little_more() {
    let mut world = World::new(500);
    for port in 0..6 {
        (0..500).for_each(|number| world.put(number, port, 1, false));
    }
    world.check();
    let each = world.pool.memory() as f64 / 500.0;
    assert!((60.0..70.0).contains(&each), "{each} bytes");
}
