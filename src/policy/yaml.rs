//! Writing YAML: the library is known to this module alone.

use serde::Serialize;

/// A value could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("cannot write YAML: {0}")]
pub struct YamlError(String);

/// `value` as one YAML document.
///
/// # Errors
/// [`YamlError`] if the value has something that YAML has no form for.
pub fn to_yaml<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_saphyr::to_string(value).map_err(|error| YamlError(error.to_string()))
}
