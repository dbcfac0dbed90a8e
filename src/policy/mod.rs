//! The policy file: what to back up, when, where to, and how long.
