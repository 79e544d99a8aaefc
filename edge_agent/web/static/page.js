// Shows what the agent says now, every two seconds. Without it the page reloads itself.
"use strict";
const live = document.getElementById("live");
const offline = document.getElementById("offline");
const address = "/live" + location.search;
let shown = null;

async function refresh() {
  try {
    const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    offline.hidden = true;
    // A button that somebody is just pressing must not be replaced under the finger.
    if (html !== shown && !live.querySelector("button:active, button:focus")) {
      live.innerHTML = html;
      shown = html;
    }
  } catch {
    offline.hidden = false;
  }
  setTimeout(refresh, 2000);
}

setTimeout(refresh, 2000);
