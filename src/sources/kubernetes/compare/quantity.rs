//! Quantities (`500m`, `1Gi`), which the server rewrites: `0.5` comes back as `500m`.

use super::kind::GroupKind;

/// A quantity as a decimal number: `digits` × 10^`exponent`, without trailing zeros, so that equal
/// quantities are equal values. Binary suffixes are multiplied out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Quantity {
    negative: bool,
    digits: u128,
    exponent: i32,
}

const SUFFIXES: &[(&str, u32, i32)] = &[
    ("Ki", 10, 0),
    ("Mi", 20, 0),
    ("Gi", 30, 0),
    ("Ti", 40, 0),
    ("Pi", 50, 0),
    ("Ei", 60, 0),
    ("n", 0, -9),
    ("u", 0, -6),
    ("m", 0, -3),
    ("k", 0, 3),
    ("M", 0, 6),
    ("G", 0, 9),
    ("T", 0, 12),
    ("P", 0, 15),
    ("E", 0, 18),
];

/// Whether both texts are quantities and mean the same.
pub(crate) fn equal(left: &str, right: &str) -> bool {
    left == right || parse(left).is_some_and(|left| parse(right) == Some(left))
}

/// A quantity in thousandths, rounded up; `None` if it is none, or larger than any there is.
pub(crate) fn thousandths(text: &str) -> Option<i128> {
    let Quantity { negative, digits, exponent } = parse(text)?;
    let (digits, exponent) = (i128::try_from(digits).ok()?, exponent.checked_add(3)?);
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    let size = match (exponent >= 0, power) {
        (true, power) => digits.checked_mul(power?)?,
        (false, None) => i128::from(digits > 0),
        (false, Some(power)) => digits / power + i128::from(digits % power > 0),
    };
    Some(if negative { -size } else { size })
}

fn parse(text: &str) -> Option<Quantity> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (shift, mut exponent) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
        return None;
    }
    let mut digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    digits = digits.checked_mul(1u128.checked_shl(shift)?)?;
    exponent -= i32::try_from(fraction.len()).ok()?;
    if digits == 0 {
        return Some(Quantity { negative: false, digits: 0, exponent: 0 });
    }
    while digits.is_multiple_of(10) {
        digits /= 10;
        exponent += 1;
    }
    Some(Quantity { negative, digits, exponent })
}

/// The power of two and of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    if suffix.is_empty() {
        return Some((0, 0));
    }
    if let Some((_, shift, exponent)) = SUFFIXES.iter().find(|(name, ..)| *name == suffix) {
        return Some((*shift, *exponent));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    (-30..=30).contains(&exponent).then_some((0, exponent))
}

/// Whether the value at `pattern` of an object of `kind` is a quantity, by the API's types.
pub(crate) fn is_at(kind: GroupKind<'_>, pattern: &str) -> bool {
    let parent = pattern.rsplit_once('.').map_or("", |(parent, _)| parent);
    if let Some(place) = kind.pod_spec().and_then(|prefix| pattern.strip_prefix(prefix)) {
        return is_in_pod_spec(place);
    }
    match (kind.group, kind.kind) {
        ("", "ResourceQuota") => parent == "spec.hard",
        ("", "PersistentVolumeClaim") => matches!(parent, "spec.resources.requests" | "spec.resources.limits"),
        ("", "LimitRange") => parent.starts_with("spec.limits[]."),
        ("apps", "StatefulSet") => parent == "spec.volumeClaimTemplates[].spec.resources.requests",
        ("autoscaling", "HorizontalPodAutoscaler") => {
            pattern.ends_with(".target.averageValue") || pattern.ends_with(".target.value")
        }
        ("node.k8s.io", "RuntimeClass") => parent == "overhead.podFixed",
        _ => false,
    }
}

fn is_in_pod_spec(place: &str) -> bool {
    let parent = place.rsplit_once('.').map_or("", |(parent, _)| parent);
    parent.ends_with(".resources.requests")
        || parent.ends_with(".resources.limits")
        || parent == ".overhead"
        || place.ends_with(".emptyDir.sizeLimit")
        || place.ends_with(".resourceFieldRef.divisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_that_mean_the_same_are_equal() {
        for (left, right) in [
            ("0.5", "500m"),
            ("1", "1000m"),
            ("1Ki", "1024"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("1.5Gi", "1536Mi"),
            ("0", "0m"),
            ("+1", "1"),
            ("-1", "-1000m"),
        ] {
            assert!(equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn others_are_not() {
        for (left, right) in
            [("1", "2"), ("1", "1m"), ("1G", "1Gi"), ("1", "-1"), ("1x", "1"), ("", "0"), ("1.2.3", "1.23"), (".", "0")]
        {
            assert!(!equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn a_quantity_is_so_many_thousandths() {
        for (text, expected) in
            [("2", 2000), ("250m", 250), ("1Ki", 1_024_000), ("1.5", 1500), ("1u", 1), ("-3", -3000), ("0", 0)]
        {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        assert_eq!((thousandths("x"), thousandths("1e30")), (None, Some(10_i128.pow(33))));
    }

    #[test]
    fn an_absurd_exponent_is_not_computed() {
        assert!(!equal("1e999999999", "1"));
        assert!(!equal(&"9".repeat(400), "1"));
        assert!(equal("junk", "junk"));
    }
}
