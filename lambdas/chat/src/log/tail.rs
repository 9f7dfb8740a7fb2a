//! The end of a log, as a message is appended to it, and as a process remembers it until it appends the next one.
//!
//! A row of a log never changes, so what was read once need not be read again: only what has come since, from the last
//! row that is remembered on. If that is not there any more, nothing that is remembered counts.
//!
//! It saves what a client without a position costs: the last fifty messages at every publish.

use super::append::{LOOK_BACK, Range};
use super::row::Header;

/// The newest rows of a log, in ascending order.
#[derive(Debug, Clone, Default)]
pub struct Tail(Vec<Header>);

impl Tail {
    /// What a read returned; there may be holes.
    pub(super) fn read(rows: Vec<Header>) -> Self {
        Self(rows)
    }

    pub(super) fn rows(&self) -> &[Header] {
        &self.0
    }

    /// The last number, if this and what has come since hold all that is read of `range`.
    pub(super) fn covers(&self, range: Range) -> Option<u64> {
        let ([first, ..], [.., last]) = (&self.0[..], &self.0[..]) else {
            return None;
        };
        let covers = match range {
            Range::Tail => true,
            Range::Last => self.0.len() >= LOOK_BACK as usize || first.seq <= 1,
            // The client may know of more.
            Range::From(after) => (first.seq..=last.seq).contains(&after),
        };
        covers.then_some(last.seq)
    }

    /// This and what has come since.
    ///
    /// # Errors
    ///
    /// `newer`, if it does not begin with the last row that is remembered.
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

    /// A row that was seen or written. What it does not follow on is forgotten.
    pub(super) fn push(&mut self, row: Header) {
        match self.0.last() {
            Some(last) if row.seq <= last.seq => return,
            Some(last) if row.seq > last.seq + 1 => self.0.clear(),
            _ => {}
        }
        self.0.push(row);
    }

    /// What is worth remembering: the last [`LOOK_BACK`] rows without a hole.
    pub(super) fn trim(&mut self) {
        let gap = self
            .0
            .windows(2)
            .rposition(|pair| pair[0].seq + 1 != pair[1].seq);
        let surplus = self.0.len().saturating_sub(LOOK_BACK as usize);
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
            user: None,
            nonce: format!("nonce-{seq}"),
            at: 0,
            expires_at: i64::MAX,
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
        // The whole of a short log, or as much of a long one as is looked through.
        assert_eq!(tail(0..=3).covers(Range::Last), Some(3));
        assert_eq!(tail(1..=3).covers(Range::Last), Some(3));
        assert_eq!(tail(2..=3).covers(Range::Last), None);
        assert_eq!(tail(11..61).covers(Range::Last), Some(60));
        assert_eq!(tail(12..61).covers(Range::Last), None);
        for (after, covered) in [(4, false), (5, true), (8, true), (9, false)] {
            assert_eq!(
                tail(5..=8).covers(Range::From(after)).is_some(),
                covered,
                "{after}"
            );
        }
    }

    #[test]
    fn it_goes_on_from_the_row_that_is_remembered_and_no_other() {
        let goes_on = tail(5..=7).followed_by(vec![row(7), row(8)]).unwrap();
        assert_eq!(seqs(&goes_on), [5, 6, 7, 8]);
        // What has become of the last row counts, not what it was.
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
        rows.trim();
        assert_eq!(seqs(&rows), [5, 6, 7]);
        rows.push(row(9));
        assert_eq!(seqs(&rows), [9]);
        let mut rows = tail(0..80);
        rows.trim();
        assert_eq!(seqs(&rows), (30..80).collect::<Vec<u64>>());
    }
}
