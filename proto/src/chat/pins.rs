//! To whom names belong.
//!
//! Owns the table of pinned names by how they look. Invariant: no key is listed twice for one look, and no look without a key.

use super::identity::PublicKey;
use crate::likeness::{Likeness, Look};
use std::collections::BTreeMap;

/// The table. A look has one owner, but for several whom the user has compared and whose names only look alike.
#[derive(Default)]
pub(super) struct Pins {
    owners: BTreeMap<Look, Vec<PublicKey>>,
}

impl Pins {
    /// Another key, to which a name like this belongs, and not to this one.
    pub(super) fn other(&self, key: &PublicKey, like: &Likeness) -> Option<PublicKey> {
        let taken = like.looks().into_iter().filter_map(|look| self.owners.get(&look));
        taken.filter(|owners| !owners.contains(key)).find_map(|owners| owners.first().copied())
    }

    /// Whether nobody else can come to have a name like this.
    pub(super) fn is_of(&self, key: &PublicKey, like: &Likeness) -> bool {
        like.looks().into_iter().all(|look| self.owners.get(&look).is_some_and(|owners| owners.contains(key)))
    }

    /// Gives the key what is free of a name.
    pub(super) fn claim(&mut self, key: PublicKey, like: &Likeness) {
        for look in like.looks() {
            self.owners.entry(look).or_insert_with(|| vec![key]);
        }
    }

    /// Gives the key a name, whoever had it. Only those keep a look of it too for whom `keeps` says so.
    pub(super) fn give(&mut self, key: PublicKey, like: &Likeness, keeps: impl Fn(&PublicKey) -> bool) {
        for look in like.looks() {
            let owners = self.owners.entry(look).or_default();
            owners.retain(|owner| *owner != key && keeps(owner));
            owners.push(key);
        }
    }

    /// Takes the name from the key, but for what names that it keeps have in common with it.
    pub(super) fn take<'a>(
        &mut self,
        key: &PublicKey,
        like: &Likeness,
        kept: impl Iterator<Item = &'a Likeness> + Clone,
    ) {
        for look in like.looks() {
            if kept.clone().all(|kept| !kept.looks().contains(&look))
                && let Some(owners) = self.owners.get_mut(&look)
            {
                owners.retain(|owner| owner != key);
                if owners.is_empty() {
                    self.owners.remove(&look);
                }
            }
        }
    }

    /// Takes all names from the key.
    pub(super) fn forget(&mut self, key: &PublicKey) {
        self.owners.retain(|_, owners| {
            owners.retain(|owner| owner != key);
            !owners.is_empty()
        });
    }

    /// How many looks of names belong to somebody: one or two for each name.
    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: PublicKey = PublicKey([1; 32]);
    const BOB: PublicKey = PublicKey([2; 32]);

    fn like(name: &str) -> Likeness {
        Likeness::of(name)
    }

    #[test]
    fn a_name_and_what_looks_like_it_belong_to_whoever_came_first() {
        let mut pins = Pins::default();
        assert!(pins.other(&BOB, &like("Вова")).is_none() && !pins.is_of(&ANN, &like("Вова")));
        pins.claim(ANN, &like("Вова"));
        assert!(pins.is_of(&ANN, &like("ВОВА")) && pins.other(&ANN, &like("Вова")).is_none());
        // Alike in capitals only.
        assert_eq!((pins.other(&BOB, &like("Boba")), pins.is_of(&ANN, &like("Boba"))), (Some(ANN), false));
        pins.claim(BOB, &like("Boba"));
        assert_eq!((pins.other(&BOB, &like("Boba")), pins.is_of(&BOB, &like("Boba"))), (Some(ANN), false));
        assert_eq!(pins.other(&ANN, &like("Boba")), Some(BOB));
        pins.forget(&ANN);
        assert_eq!((pins.other(&BOB, &like("Boba")), pins.len()), (None, 1));
    }

    #[test]
    fn a_name_that_is_given_away_is_kept_by_none_but_those_who_may() {
        let mut pins = Pins::default();
        pins.claim(ANN, &like("Ian"));
        pins.give(BOB, &like("Lan"), |owner| *owner == ANN);
        pins.give(BOB, &like("Lan"), |owner| *owner == ANN);
        assert!(pins.is_of(&ANN, &like("ian")) && pins.is_of(&BOB, &like("lan")));
        assert_eq!(pins.other(&PublicKey([3; 32]), &like("lan")), Some(ANN));
        pins.give(BOB, &like("Lan"), |_| false);
        assert_eq!((pins.other(&ANN, &like("Ian")), pins.other(&BOB, &like("Lan"))), (Some(BOB), None));
        pins.forget(&BOB);
        assert_eq!(pins.len(), 0);
    }

    #[test]
    fn a_name_that_is_taken_away_takes_none_of_another_name_with_it() {
        let mut pins = Pins::default();
        pins.claim(ANN, &like("Вова"));
        pins.claim(ANN, &like("Boba"));
        pins.take(&ANN, &like("Вова"), [like("Boba")].iter());
        assert!(pins.is_of(&ANN, &like("Boba")) && pins.len() == 2);
        pins.take(&BOB, &like("Boba"), [].iter());
        assert_eq!(pins.len(), 2, "it is not hers to lose");
        pins.take(&ANN, &like("Boba"), [].iter());
        assert_eq!(pins.len(), 0);
    }
}
