import { type Html, html } from './html.ts';

export interface Visitor {
  readonly owner: string;
  readonly admin: boolean;
  /** False on the unix socket: there is nothing to log out of. */
  readonly hasSession: boolean;
  /** Goes with every form. */
  readonly formToken: string;
}

/** A whole page. Without a visitor nobody is logged in. */
export function layout(title: string, visitor: Visitor | null, content: Html): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<link rel="icon" href="/ui/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/ui/assets/style.css">
<script src="/ui/assets/page.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header>
<div class="wide">
<a class="brand" href="/"><img src="/ui/assets/icon.svg" alt="" width="24" height="24">bhatti images</a>
${visitor !== null && navigation(visitor)}
</div>
</header>
<main id="main" class="wide">
${content}
</main>
<p id="news" class="unseen" role="status"></p>
</body>
</html>
`;
}

function navigation({ admin, hasSession, owner, formToken }: Visitor): Html {
  return html`<nav aria-label="Site">
${admin && html`<a href="/admin/queues">Queue board</a>`}
${
  hasSession &&
  html`<form method="post" action="/logout">${formField(formToken)}<button class="plain" title="Logged in as ${owner}">Log out</button></form>`
}
</nav>`;
}

export function formField(formToken: string): Html {
  return html`<input type="hidden" name="form_token" value="${formToken}">`;
}

/** What went wrong with the last form, at the top of the page it came from. */
export function alertBox(message: string | null): Html | null {
  return message === null ? null : html`<p class="alert" role="alert">${message}</p>`;
}

export function loginPage(error: string | null): Html {
  return layout(
    'Log in · bhatti images',
    null,
    html`<h1>Log in</h1>
${alertBox(error)}
<form method="post" action="/login" class="card login">
<label for="token">Token</label>
<input id="token" name="token" type="password" required autocomplete="current-password" autofocus spellcheck="false" aria-describedby="token-hint">
<p id="token-hint" class="hint">The <code>bht_…</code> token of your user. On the server, <code>bhatti serve status</code> prints the admin's.</p>
<button>Log in</button>
</form>`,
  );
}

export function errorPage(status: number, message: string, requestId: string, visitor: Visitor | null): Html {
  return layout(
    `${status} · bhatti images`,
    visitor,
    html`<h1>${status === 404 ? 'Not here' : 'That did not work'}</h1>
<p class="alert" role="alert">${message}</p>
<p class="hint">Request <code>${requestId}</code></p>
<p><a href="/">Back to the images</a></p>`,
  );
}
