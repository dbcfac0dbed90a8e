//! What somebody most likely meant who wrote something that is not there.

/// How many characters must be put in, taken out, changed or swapped with the next to make `b` of `a`. Only the first
/// 64 of each count.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().take(64).collect();
    let b: Vec<char> = b.to_lowercase().chars().take(64).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let mut best = if i.min(j) == 0 { i.max(j) } else { usize::MAX };
            if i > 0 && j > 0 {
                let change = usize::from(a.get(i - 1) != b.get(j - 1));
                best = at(&rows, i - 1, j - 1) + change;
                best = best.min(at(&rows, i - 1, j) + 1).min(at(&rows, i, j - 1) + 1);
                let swapped = i > 1 && j > 1 && a.get(i - 1) == b.get(j - 2) && a.get(i - 2) == b.get(j - 1);
                if swapped {
                    best = best.min(at(&rows, i - 2, j - 2) + 1);
                }
            }
            if let Some(cell) = rows.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = best;
            }
        }
    }
    at(&rows, a.len(), b.len())
}

/// Of `choices` those that are most like `wanted`, the nearest first: three at most, and none that is far off. What
/// stands before the first `.` of a choice is looked at by itself, too: `deployment` is near `deployments.apps`.
#[must_use]
pub fn nearest<'a>(wanted: &str, choices: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let far = |choice: &'a str| {
        let short = choice.split('.').next().unwrap_or(choice);
        [choice, short]
            .into_iter()
            .map(|text| (distance(wanted, text), text.len()))
            .min()
            .map(|(far, length)| (far, far <= 1 + length / 4, choice))
    };
    let mut near: Vec<_> = choices.into_iter().filter_map(far).filter(|(_, close, _)| *close).collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(3).map(|(_, _, choice)| choice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_changes_and_swaps() {
        for (a, b, far) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("namespace", "namespaces", 1),
            ("cron", "corn", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), far, "{a} {b}");
            assert_eq!(distance(b, a), far, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_come_first_and_what_is_far_off_does_not_come() {
        let kinds = ["deployments.apps", "daemonsets.apps", "ingresses.networking.k8s.io", "secrets", "services"];
        assert_eq!(nearest("deployment", kinds), ["deployments.apps"]);
        assert_eq!(nearest("deployments.app", kinds), ["deployments.apps"]);
        assert_eq!(nearest("Secret", kinds), ["secrets"]);
        assert_eq!(nearest("ingress", kinds), ["ingresses.networking.k8s.io"]);
        assert!(nearest("widgets.example.com", kinds).is_empty());
    }
}
