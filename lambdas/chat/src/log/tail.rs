//! The end of a log, as a message is appended to it, and as a process remembers it until it appends the next one.
//!
//! A header of a log never changes, so a process reads only the rows that came since, from the last remembered row on.
//! If that row is missing, the process forgets the others.
//!
//! This saves the reads of a client without a position: the last fifty messages at every publish.

use super::append::{LOOK_BACK, Range};
use super::row::Header;

/// The newest rows of a log, in ascending order.
#[derive(Debug, Clone, Default)]
pub struct Tail(Vec<Header>);

impl Tail {
    /// True if an entry of this user and `id` is among the rows that a search for an earlier copy covers.
    pub(crate) fn holds(&self, user: &str, id: &str, after: Option<u64>) -> bool {
        let skipped = match after {
            None => self.0.len().saturating_sub(LOOK_BACK as usize),
            Some(_) => 0,
        };
        let mut rows = self.0.iter().skip(skipped);
        rows.any(|row| {
            let is_own = row.user.as_deref() == Some(user) && row.id.as_deref() == Some(id);
            is_own && after.is_none_or(|after| row.seq > after)
        })
    }

    /// The rows of a read; there may be holes.
    pub(super) fn read(rows: Vec<Header>) -> Self {
        Self(rows)
    }

    pub(super) fn rows(&self) -> &[Header] {
        &self.0
    }

    /// The newest row.
    pub(crate) fn newest(&self) -> Option<&Header> {
        self.0.last()
    }

    /// The last number, if these rows and those that came since include all rows of `range`.
    pub(super) fn covers(&self, range: Range) -> Option<u64> {
        let ([first, ..], [.., last]) = (&self.0[..], &self.0[..]) else {
            return None;
        };
        let covers = match range {
            Range::Tail => true,
            Range::Last => self.0.len() >= LOOK_BACK as usize || first.seq <= 1,
            // The client may know newer rows.
            Range::After(after) | Range::From(after) => (first.seq..=last.seq).contains(&after),
            Range::Before { .. } => false,
        };
        covers.then_some(last.seq)
    }

    /// These rows and those that came since.
    ///
    /// # Errors
    ///
    /// Returns `newer` if it does not begin with the last remembered row.
    pub(super) fn followed_by(mut self, newer: Vec<Header>) -> Result<Self, Vec<Header>> {
        match (self.0.last(), newer.first()) {
            (Some(last), Some(first)) if (first.seq, &first.nonce) == (last.seq, &last.nonce) => {
                self.0.pop();
                self.0.extend(newer);
                Ok(self)
            }
            _ => Err(newer),
        }
    }

    /// Adds a row that was seen or written. Rows that it does not follow are forgotten.
    pub(super) fn push(&mut self, row: Header) {
        match self.0.last() {
            Some(last) if row.seq <= last.seq => return,
            Some(last) if row.seq > last.seq + 1 => self.0.clear(),
            _ => {}
        }
        self.0.push(row);
    }

    /// Adds the rows below the first one, if they join.
    pub(super) fn prepend(&mut self, mut older: Vec<Header>) {
        if let ([.., last], [first, ..]) = (&older[..], &self.0[..])
            && last.seq + 1 == first.seq
        {
            older.append(&mut self.0);
            self.0 = older;
        }
    }

    /// Keeps the last `most` rows without a hole.
    pub(super) fn trim(&mut self, most: u32) {
        let gap = self
            .0
            .windows(2)
            .rposition(|pair| pair[0].seq + 1 != pair[1].seq);
        let surplus = self.0.len().saturating_sub(most as usize);
        self.0
            .drain(..surplus.max(gap.map_or(0, |below| below + 1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64) -> Header {
        Header {
            seq,
            epoch: "E".to_owned(),
            id: None,
            hash: None,
            user: None,
            nonce: format!("nonce-{seq}"),
            at: 0,
            expires_at: i64::MAX,
            n: Some(seq),
        }
    }

    fn tail(seqs: impl IntoIterator<Item = u64>) -> Tail {
        Tail::read(seqs.into_iter().map(row).collect())
    }

    fn seqs(tail: &Tail) -> Vec<u64> {
        tail.rows().iter().map(|row| row.seq).collect()
    }

    #[test]
    fn what_is_remembered_covers_what_it_holds() {
        assert_eq!(tail([]).covers(Range::Tail), None);
        assert_eq!(tail([7]).covers(Range::Tail), Some(7));
        // The whole of a short log, or the searched part of a long one.
        assert_eq!(tail(0..=3).covers(Range::Last), Some(3));
        assert_eq!(tail(1..=3).covers(Range::Last), Some(3));
        assert_eq!(tail(2..=3).covers(Range::Last), None);
        assert_eq!(tail(11..61).covers(Range::Last), Some(60));
        assert_eq!(tail(12..61).covers(Range::Last), None);
        for (after, covered) in [(4, false), (5, true), (8, true), (9, false)] {
            assert_eq!(
                tail(5..=8).covers(Range::After(after)).is_some(),
                covered,
                "{after}"
            );
        }
    }

    #[test]
    fn it_goes_on_from_the_row_that_is_remembered_and_no_other() {
        let goes_on = tail(5..=7).followed_by(vec![row(7), row(8)]).unwrap();
        assert_eq!(seqs(&goes_on), [5, 6, 7, 8]);
        // The last row as it was read now counts, not as it is remembered.
        let expired = Header {
            expires_at: 1,
            ..row(7)
        };
        let goes_on = tail(5..=7).followed_by(vec![expired]).unwrap();
        assert!(goes_on.rows()[2].is_expired(1));

        let another = Header {
            nonce: "another".to_owned(),
            ..row(7)
        };
        for newer in [vec![], vec![row(8)], vec![another, row(8)]] {
            assert!(tail(5..=7).followed_by(newer).is_err());
        }
    }

    #[test]
    fn only_unbroken_rows_are_remembered() {
        let mut rows = tail([3, 5, 6]);
        rows.push(row(6));
        rows.push(row(7));
        rows.trim(LOOK_BACK);
        assert_eq!(seqs(&rows), [5, 6, 7]);
        rows.push(row(9));
        assert_eq!(seqs(&rows), [9]);
        let mut rows = tail(0..80);
        rows.trim(LOOK_BACK);
        assert_eq!(seqs(&rows), (30..80).collect::<Vec<u64>>());
    }
}
