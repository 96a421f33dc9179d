//! The documentation holds: its links lead somewhere, its versions are the version, its commands run.

mod book;
mod commands;
mod desk;
mod links;
mod not_run;
mod pages;
mod versions;
