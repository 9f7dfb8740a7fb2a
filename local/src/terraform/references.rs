//! Which locals and resources refer to which others.

use std::collections::BTreeMap;

/// For each definition, by its place in the order they were given, the places of those that refer to it.
pub(super) struct References(Vec<Vec<usize>>);

impl References {
    /// Looks for the addresses (`local.NAME`, `TYPE.NAME`, `data.TYPE.NAME`) in each definition's text.
    ///
    /// A text may hold an address without referring to it, in a comment or a string. Then something is evaluated once too
    /// often, and no harm is done.
    pub(super) fn new(definitions: impl Iterator<Item = (String, String)>) -> References {
        let definitions: Vec<_> = definitions.collect();
        let places: BTreeMap<&str, usize> = definitions
            .iter()
            .enumerate()
            .map(|(place, (address, _))| (address.as_str(), place))
            .collect();
        let mut referring = vec![Vec::new(); definitions.len()];
        for (place, (_, text)) in definitions.iter().enumerate() {
            for address in addresses(text) {
                if let Some(&target) = places.get(address.as_str())
                    && !referring[target].contains(&place)
                {
                    referring[target].push(place);
                }
            }
        }
        References(referring)
    }

    /// Those that refer to that one.
    pub(super) fn to(&self, place: usize) -> impl Iterator<Item = usize> {
        self.0.get(place).into_iter().flatten().copied()
    }
}

/// What may be an address: the first two steps of every chain of names, three after `data`.
fn addresses(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
        .map(|chain| {
            let steps = if chain.starts_with("data.") { 3 } else { 2 };
            chain.split('.').take(steps).collect::<Vec<_>>().join(".")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_wherever_it_stands() {
        let definitions = [
            ("local.a", "1"),
            ("local.b", "[for x in local.a : x]"),
            ("aws_x.y", "name = \"${local.b}-${local.a}\""),
            ("data.aws_z.z", "arn = aws_x.y[\"k\"].arn"),
            ("local.c", "!data.aws_z.z.ok"),
        ];
        let owned = definitions.map(|(address, text)| (address.to_owned(), text.to_owned()));
        let references = References::new(owned.into_iter());
        let to = |place| references.to(place).collect::<Vec<_>>();
        assert_eq!(to(0), [1, 2]);
        assert_eq!(to(1), [2]);
        assert_eq!(to(2), [3]);
        assert_eq!(to(3), [4]);
        assert!(to(4).is_empty());
    }
}
