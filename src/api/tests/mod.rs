//! Tests of the routes, with the real driver and engine behind them.

mod access;
mod document;
mod env;
mod executors;
mod flow;
mod intruders;
mod page;
mod refusals;
mod waiting;
