//! Tokens at the door of every route, and what a caller sees who may not see all.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value as Json, json};

use super::document::{concrete, documented};
use super::env::{Answer, Daemon};
use super::waiting::Events;
use crate::access::{self, Kept, Queues, Right, Secret, TokenFileError};
use crate::engine::Time;

/// The calls of the document that ask for no token: they tell nothing of what runs here, or have secrets of their own.
const WITHOUT_TOKEN: [&str; 5] = [
    "GET /healthz",
    "GET /openapi.json",
    "GET /readyz",
    "GET /v1/executor/{hash}",
    "PUT /v1/attempts/{attempt}/value",
];

pub(super) fn token(daemon: &Daemon, name: &str, queues: &[&str], rights: &[Right]) -> String {
    let secret = Secret::generate().unwrap();
    let queues = Queues::new(queues.iter().map(|text| text.parse().unwrap()));
    let kept = Kept::of(&secret, name, queues, rights, Time(0));
    change(daemon, |tokens| tokens.push(kept));
    secret.reveal()
}

fn change(daemon: &Daemon, with: impl FnOnce(&mut Vec<Kept>)) {
    access::change(daemon.dir.path(), |tokens| {
        with(tokens);
        Ok::<_, TokenFileError>(())
    })
    .unwrap();
}

async fn send(daemon: &Daemon, token: &str, method: Method, path: &str, body: Json) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {token}"));
    let body = match body.is_null() {
        true => Body::empty(),
        false => Body::from(body.to_string()),
    };
    let request = request.header("content-type", "application/json");
    daemon.send(request.body(body).unwrap()).await
}

async fn get(daemon: &Daemon, token: &str, path: &str) -> Answer {
    send(daemon, token, Method::GET, path, Json::Null).await
}

async fn post(daemon: &Daemon, token: &str, path: &str, body: Json) -> Answer {
    send(daemon, token, Method::POST, path, body).await
}

async fn submit(daemon: &Daemon, token: &str, task: Json) -> u64 {
    let answer = post(daemon, token, "/v1/tasks", task).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()["tasks"][0]["id"].as_u64().unwrap()
}

fn render(name: &str) -> Json {
    json!({"queue": "maps/render", "name": name, "inbox": "in", "run": {"command": "true"}})
}

fn default(name: &str) -> Json {
    json!({"queue": "default", "name": name, "inbox": "in", "run": {"command": "true"}})
}

#[tokio::test]
async fn no_call_of_the_document_is_answered_without_a_token() {
    let daemon = Daemon::start();
    daemon.submit(&render("tile")).await;
    token(&daemon, "any", &["*"], &[Right::Administer]);
    let mut open = Vec::new();
    for call in documented() {
        let (method, path) = call.split_once(' ').unwrap();
        for authorization in [
            None,
            Some("Bearer apportion_1_x"),
            Some("Basic YTpi"),
            Some(""),
        ] {
            let mut request = Request::builder().method(method).uri(concrete(path));
            if let Some(text) = authorization {
                request = request.header("authorization", text);
            }
            let answer = daemon.send(request.body(Body::empty()).unwrap()).await;
            if answer.status != StatusCode::UNAUTHORIZED {
                open.push(call.clone());
                continue;
            }
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer realm=\"apportion\""
            );
            let code = answer.json()["error"]["code"].clone();
            let expected = match authorization {
                None => "token_missing",
                Some("Bearer apportion_1_x") => "token_unknown",
                Some(_) => "token_malformed",
            };
            assert_eq!(code, expected, "{call}");
        }
    }
    open.dedup();
    assert_eq!(open, WITHOUT_TOKEN);
    // Those have secrets of their own.
    assert_eq!(
        daemon.get("/v1/executor/x").await.status,
        StatusCode::NOT_FOUND
    );
    let put = Request::put("/v1/attempts/1.1/value").body(Body::empty());
    let answer = daemon.send(put.unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    daemon.stop().await;
}

#[tokio::test]
async fn a_token_that_does_not_count_says_why() {
    let daemon = Daemon::start();
    let ci = token(&daemon, "ci", &["*"], &[Right::Read]);
    assert_eq!(get(&daemon, &ci, "/v1/tasks").await.status, StatusCode::OK);
    let twice = Request::get("/v1/tasks")
        .header("authorization", format!("Bearer {ci}"))
        .header("authorization", format!("Bearer {ci}"));
    let answer = daemon.send(twice.body(Body::empty()).unwrap()).await;
    assert!(
        answer.error().starts_with("401 token_malformed"),
        "{answer:?}"
    );
    change(&daemon, |tokens| tokens[0].expires_at_ms = Some(1));
    assert_eq!(
        get(&daemon, &ci, "/v1/tasks").await.error(),
        "401 token_expired: token 'ci' has expired; ask for a new one, made with `apportion token new`"
    );
    change(&daemon, |tokens| tokens[0].revoked_at_ms = Some(1));
    let revoked = get(&daemon, &ci, "/v1/tasks").await.error();
    assert!(revoked.starts_with("401 token_revoked"), "{revoked}");
    let in_query = daemon.get(&format!("/v1/tasks?token={ci}")).await.error();
    assert!(in_query.starts_with("401 token_missing"), "{in_query}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_right_holds_in_its_queues_and_nowhere_else() {
    let daemon = Daemon::start();
    let maps = token(
        &daemon,
        "maps",
        &["maps/*"],
        &[Right::Read, Right::Submit, Right::Cancel],
    );
    let other = token(
        &daemon,
        "other",
        &["default"],
        &[Right::Read, Right::Submit, Right::Cancel],
    );
    let task = submit(&daemon, &maps, render("tile")).await;
    let after = json!({"queue": "default", "after": [task], "run": {"command": "true"}});
    let calls = [
        (Method::GET, format!("/v1/tasks/{task}"), Json::Null),
        (Method::GET, format!("/v1/tasks/{task}/explain"), Json::Null),
        (Method::GET, format!("/v1/tasks/{task}/result"), Json::Null),
        (
            Method::GET,
            format!("/v1/tasks/{task}/logs/stdout"),
            Json::Null,
        ),
        (
            Method::GET,
            format!("/v1/tasks/{task}/logs/stderr"),
            Json::Null,
        ),
        (Method::POST, format!("/v1/tasks/{task}/cancel"), Json::Null),
        (Method::POST, format!("/v1/tasks/{task}/retry"), Json::Null),
        (Method::POST, "/v1/tasks".to_owned(), after),
        (Method::POST, "/v1/tasks".to_owned(), render("a stranger's")),
        (
            Method::POST,
            "/v1/resources/db/outside".to_owned(),
            json!({"used": 1}),
        ),
        (Method::GET, "/metrics".to_owned(), Json::Null),
    ];
    for (method, path, body) in calls {
        let answer = send(&daemon, &other, method, &path, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {answer:?}");
        let error = answer.error();
        assert!(error.contains("token 'other' may not"), "{error}");
        assert!(
            !error.contains("maps/render") || path == "/v1/tasks",
            "{error}"
        );
    }
    let refused = post(&daemon, &other, "/v1/tasks", render("x")).await;
    assert_eq!(
        refused.error(),
        "403 forbidden: token 'other' may not submit in queue maps/render; ask whoever runs the daemon for a token \
        made with --queues 'maps/render' --rights submit"
    );
    let shown = get(&daemon, &maps, &format!("/v1/tasks/{task}")).await;
    assert_eq!(
        shown.json()["state"],
        "queued",
        "nothing of it had an effect"
    );
    // One among many is enough to refuse all.
    let mixed = json!({"tasks": [default("own"), render("not own")]});
    let answer = post(&daemon, &other, "/v1/tasks", mixed).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let all = get(&daemon, &other, "/v1/tasks").await.json();
    assert_eq!(all["tasks"], json!([]));
    let cancelled = post(
        &daemon,
        &maps,
        &format!("/v1/tasks/{task}/cancel"),
        Json::Null,
    )
    .await;
    assert_eq!(cancelled.status, StatusCode::OK);
    daemon.stop().await;
}

#[tokio::test]
async fn without_a_right_at_all_the_door_is_shut() {
    let daemon = Daemon::start();
    let reads = token(&daemon, "reads", &["*"], &[Right::Read]);
    let submits = token(&daemon, "submits", &["*"], &[Right::Submit]);
    let task = submit(&daemon, &submits, render("tile")).await;
    for (token, method, path) in [
        (&reads, Method::POST, "/v1/tasks".to_owned()),
        (&reads, Method::POST, format!("/v1/tasks/{task}/cancel")),
        (&reads, Method::POST, "/v1/resources/db/outside".to_owned()),
        (&submits, Method::GET, "/v1/tasks".to_owned()),
        (&submits, Method::GET, format!("/v1/tasks/{task}")),
        (&submits, Method::GET, "/v1/events".to_owned()),
        (&submits, Method::POST, "/v1/inboxes/in/pop".to_owned()),
    ] {
        let answer = send(&daemon, token, method, &path, Json::Null).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {answer:?}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn lists_tell_only_of_what_may_be_read() {
    let daemon = Daemon::start();
    let all = token(&daemon, "all", &["*"], &[Right::Administer]);
    let maps = token(&daemon, "maps", &["maps/*"], &[Right::Read]);
    submit(&daemon, &all, render("own tile")).await;
    submit(&daemon, &all, default("a tile of others")).await;
    let names = |answer: Answer| -> Vec<String> {
        let answer = answer.json();
        let tasks = answer["tasks"].as_array().unwrap().iter();
        tasks
            .map(|task| task["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for path in [
        "/v1/tasks",
        "/v1/tasks?search=tile",
        "/v1/tasks?state=queued",
        "/v1/tasks?queue=maps",
        "/v1/tasks?limit=1",
    ] {
        assert_eq!(
            names(get(&daemon, &maps, path).await),
            ["own tile"],
            "{path}"
        );
    }
    assert_eq!(
        names(get(&daemon, &maps, "/v1/tasks?queue=default").await),
        [""; 0]
    );
    assert_eq!(names(get(&daemon, &all, "/v1/tasks").await).len(), 2);
    let queues = get(&daemon, &maps, "/v1/queues").await.json();
    let queues = queues["queues"].as_array().unwrap();
    assert_eq!(queues.len(), 1);
    assert_eq!(queues[0]["path"], "maps/render");
    let explained = get(&daemon, &maps, "/v1/tasks/1/explain").await.json();
    assert!(!explained.to_string().contains("default"), "{explained}");
    let unknown = json!({"queue": "maps/none", "run": {"command": "true"}});
    let submits = token(&daemon, "submits", &["maps/*"], &[Right::Submit]);
    let refused = post(&daemon, &submits, "/v1/tasks", unknown).await.error();
    assert!(
        refused.contains("maps/render") && !refused.contains("default"),
        "{refused}"
    );
    daemon.stop().await;
}

#[tokio::test]
async fn events_tell_only_of_what_may_be_read_and_only_as_long_as_the_token_counts() {
    let daemon = Daemon::start();
    let all = token(&daemon, "all", &["*"], &[Right::Administer]);
    let maps = token(&daemon, "maps", &["maps/*"], &[Right::Read]);
    let mut events = Events::open_as(&daemon, "/v1/events", Some(&maps)).await;
    let other = submit(&daemon, &all, default("other")).await;
    let own = submit(&daemon, &all, render("own")).await;
    daemon.add_agent().await;
    for task in [other, own] {
        daemon.started(task, 1).await;
        daemon.ended(task, 1, 0, "").await;
    }
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "succeeded") {
        let (_, event) = events.next().await.unwrap();
        assert_eq!(event["task"], own, "{event}");
        states.push(event["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states, ["queued", "launching", "running", "succeeded"]);
    change(&daemon, |tokens| {
        tokens
            .iter_mut()
            .for_each(|kept| kept.revoked_at_ms = Some(1))
    });
    // The next change of anything ends the stream.
    let end = json!({"used": 1});
    let again = token(&daemon, "again", &["*"], &[Right::Administer]);
    assert_eq!(
        post(&daemon, &again, "/v1/resources/db/outside", end)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(events.next().await, None);
    daemon.stop().await;
}

#[tokio::test]
async fn an_inbox_gives_and_takes_only_what_is_ones_own() {
    let daemon = Daemon::start();
    let rights = [Right::Read, Right::Submit];
    let maps = token(&daemon, "maps", &["maps/*"], &rights);
    let other = token(&daemon, "other", &["default"], &rights);
    let looks = token(&daemon, "looks", &["maps/*"], &[Right::Read]);
    for (token, task) in [
        (&other, default("1")),
        (&maps, render("2")),
        (&other, default("3")),
    ] {
        submit(&daemon, token, task).await;
    }
    daemon.add_agent().await;
    for task in [1, 2, 3] {
        daemon.started(task, 1).await;
        daemon.ended(task, 1, 0, "").await;
    }
    let pop = async |token: &str, body: Json| -> (Vec<u64>, Json) {
        let answer = post(&daemon, token, "/v1/inboxes/in/pop", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = answer.json();
        let tasks = answer["tasks"].as_array().unwrap().iter();
        (
            tasks.map(|task| task["id"].as_u64().unwrap()).collect(),
            answer["token"].clone(),
        )
    };
    let (given, ack) = pop(&maps, json!({"max": 1})).await;
    assert_eq!(given, [2]);
    // Whoever may only read acknowledges nothing.
    assert_eq!(pop(&looks, json!({"ack": ack})).await.0, [2]);
    let (given, last) = pop(&other, json!({})).await;
    assert_eq!(given, [1, 3]);
    assert_eq!(pop(&maps, json!({"ack": last})).await.0, [0; 0]);
    assert_eq!(pop(&other, json!({})).await.0, [1, 3]);
    assert_eq!(pop(&other, json!({"ack": last})).await.0, [0; 0]);
    daemon.stop().await;
}

#[tokio::test]
async fn ones_own_tasks_are_cancelled_and_retried_without_a_further_right() {
    let daemon = Daemon::start();
    let rights = [Right::Read, Right::Submit];
    let (own, other) = (
        token(&daemon, "own", &["maps/*"], &rights),
        token(&daemon, "other", &["maps/*"], &rights),
    );
    let array = json!({"queue": "maps/render", "array": "0-4", "run": {"command": "true"}});
    let first = submit(&daemon, &own, array).await;
    for call in ["cancel", "retry"] {
        let path = format!("/v1/tasks/{}/{call}", first + 3);
        let refused = post(&daemon, &other, &path, Json::Null).await.error();
        assert!(
            refused.starts_with("403 forbidden: token 'other' may not cancel"),
            "{refused}"
        );
        assert_eq!(
            post(&daemon, &own, &path, Json::Null).await.status,
            StatusCode::OK
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_audit_trail_tells_who_did_what() {
    let daemon = Daemon::start();
    let before = daemon.submit(&render("before there were tokens")).await;
    let root = token(&daemon, "root", &["*"], &[Right::Administer]);
    let ci = token(&daemon, "ci", &["maps/*"], &[Right::Read, Right::Submit]);
    let many = json!({"tasks": [render("a"), {"queue": "maps/render", "key": "k", "array": "0-3", "run": {"command": "true"}}]});
    let answer = post(&daemon, &ci, "/v1/tasks", many.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let task = before + 3;
    let cancel = format!("/v1/tasks/{task}/cancel");
    for _ in 0..2 {
        // The second time changes nothing, so nobody did anything.
        let body = json!({"reason": "wrong tiles"});
        assert!(
            post(&daemon, &root, &cancel, body)
                .await
                .status
                .is_success()
        );
    }
    post(
        &daemon,
        &root,
        "/v1/resources/db/outside",
        json!({"used": 2}),
    )
    .await;
    let all = get(&daemon, &root, "/v1/audit").await.json();
    let told: Vec<String> = (all["entries"].as_array().unwrap().iter())
        .map(|entry| {
            format!(
                "{} {} {} {} {}",
                entry["token"], entry["action"], entry["task"], entry["count"], entry["detail"]
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "\"root\" \"outside_reported\" null 0 \"db: 2\"".to_owned(),
            format!("\"root\" \"cancelled\" {task} 1 \"wrong tiles\""),
            format!("\"ci\" \"submitted\" {} 5 null", before + 1),
            format!("null \"submitted\" {before} 1 null"),
        ]
    );
    let history = get(&daemon, &ci, &format!("/v1/tasks/{task}/history"))
        .await
        .json();
    assert_eq!(history["entries"].as_array().unwrap().len(), 2, "{history}");
    let by = get(&daemon, &root, "/v1/audit?by=ci").await.json();
    assert_eq!(by["entries"].as_array().unwrap().len(), 1);
    let page = get(&daemon, &root, "/v1/audit?limit=3").await.json();
    let rest = format!("/v1/audit?before={}", page["next_before"]);
    assert_eq!(
        get(&daemon, &root, &rest).await.json()["entries"][0]["task"],
        before
    );
    for path in ["/v1/audit".to_owned(), format!("/v1/audit?task={task}")] {
        assert_eq!(get(&daemon, &ci, &path).await.status, StatusCode::FORBIDDEN);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_could_not_be_made_durable_leaves_no_trace_in_the_audit_trail() {
    let daemon = Daemon::start();
    daemon
        .is_full
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = daemon.post("/v1/tasks", render("lost").to_string()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let trail = daemon.get("/v1/audit").await.json();
    assert_eq!(trail["entries"], json!([]));
    daemon
        .is_full
        .store(false, std::sync::atomic::Ordering::SeqCst);
    daemon.stop().await;
}
