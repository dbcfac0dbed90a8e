//! What of a database the policy takes.

use crate::types::{InvalidPattern, SchemaPattern, TablePattern};

/// What of a database is captured.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these schemas; empty: all.
    pub(crate) schemas: Vec<SchemaPattern>,
    /// Not these tables.
    pub(crate) exclude_tables: Vec<TablePattern>,
    /// Not the rows of these tables.
    pub(crate) exclude_table_data: Vec<TablePattern>,
}

impl Selection {
    /// What these patterns, in `pg_dump`'s words, select. No schema means all of them; a table without
    /// its schema is that of every schema.
    ///
    /// # Errors
    /// [`InvalidPattern`] says which pattern is none, and why.
    pub fn new(
        schemas: &[String],
        exclude_tables: &[String],
        exclude_table_data: &[String],
    ) -> Result<Self, InvalidPattern> {
        let tables = |patterns: &[String]| {
            patterns.iter().map(|text| TablePattern::parse(text)).collect::<Result<Vec<_>, InvalidPattern>>()
        };
        Ok(Self {
            schemas: schemas.iter().map(|text| SchemaPattern::parse(text)).collect::<Result<_, _>>()?,
            exclude_tables: tables(exclude_tables)?,
            exclude_table_data: tables(exclude_table_data)?,
        })
    }

    /// Whether all of the database is taken but for what is excluded.
    pub(crate) fn is_whole(&self) -> bool {
        self.schemas.is_empty()
    }

    /// Whether anything is excluded.
    pub(crate) fn excludes(&self) -> bool {
        !(self.schemas.is_empty() && self.exclude_tables.is_empty() && self.exclude_table_data.is_empty())
    }

    /// What `pg_dump` of the server's major version is told.
    pub(crate) fn arguments(&self, major: u32, large_objects: bool) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        arguments.extend(self.schemas.iter().map(|pattern| format!("--schema={}", pattern.text)));
        arguments.extend(self.exclude_tables.iter().map(|pattern| format!("--exclude-table={}", pattern.text)));
        arguments
            .extend(self.exclude_table_data.iter().map(|pattern| format!("--exclude-table-data={}", pattern.text)));
        // Large objects and extensions belong to no schema: with a selection of schemas they must be asked for.
        if !self.is_whole() && major >= 14 {
            arguments.push("--extension=*".to_owned());
        }
        match (large_objects, self.is_whole()) {
            (false, _) => arguments.push("--no-blobs".to_owned()),
            (true, false) => arguments.push("--blobs".to_owned()),
            (true, true) => {}
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_selection_says_it_in_pg_dumps_words() {
        let whole = Selection::new(&[], &texts(&["audit.*"]), &texts(&["sessions"])).unwrap();
        assert_eq!(whole.arguments(15, true), ["--exclude-table=audit.*", "--exclude-table-data=*.sessions"]);
        assert_eq!(whole.arguments(15, false).last().unwrap(), "--no-blobs");
        let some = Selection::new(&texts(&["public"]), &[], &[]).unwrap();
        assert_eq!(some.arguments(15, true), ["--schema=public", "--extension=*", "--blobs"]);
        assert_eq!(some.arguments(13, true), ["--schema=public", "--blobs"]);
    }
}
