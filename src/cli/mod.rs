//! The command line: arguments → options → one operation → output → exit code.
