//! The documentation holds: its links lead somewhere, its versions are the version, its commands run.

mod commands;
mod links;
mod pages;
mod versions;
