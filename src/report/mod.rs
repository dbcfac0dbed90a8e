//! What a run found, as JSON for programs and text for people.
