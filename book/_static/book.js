/* The page's own behaviour: the JupyterHub button, printing, search, and names for regions that scroll. */
(() => {
  "use strict";
  const KEY = "segcourse-hub";

  // localStorage throws where a browser forbids it for files; the page must go on.
  const remembered = () => {
    try { return localStorage.getItem(KEY) || ""; } catch { return ""; }
  };
  const remember = (address) => {
    try { localStorage.setItem(KEY, address); } catch { /* asked again next time */ }
  };

  /* The hub's address without what follows it: people paste the page they see after login. */
  function cleanAddress(text) {
    let address = text.trim();
    if (!/^[a-z]+:\/\//i.test(address)) address = "https://" + address;
    let url;
    try { url = new URL(address); } catch { return null; }
    // Browsers accept blanks in a host and write them as %20.
    if (!/^https?:$/.test(url.protocol) || !/^[\w.[\]:-]+$/.test(url.hostname)) return null;
    const path = url.pathname.replace(/\/(hub|user)(\/.*)?$/, "").replace(/\/+$/, "");
    return url.origin + path;
  }

  function setUpHub() {
    const button = document.querySelector("[data-hub-query]");
    if (!button) return;
    const link = (address) => `${address}/hub/user-redirect/git-pull?${button.dataset.hubQuery}`;
    const open = (address) => window.open(link(address), "_blank", "noopener");
    const dialog = document.getElementById("hub-dialog");
    if (!dialog) {
      button.addEventListener("click", () => open(button.dataset.hubAddress));
      return;
    }
    const field = document.getElementById("hub-address");
    const fault = document.getElementById("hub-fault");
    const change = document.querySelector("[data-hub-change]");
    const ask = () => {
      field.value = remembered();
      fault.textContent = "";
      field.removeAttribute("aria-invalid");
      dialog.showModal();
      field.focus();
    };
    change.hidden = !remembered();
    change.addEventListener("click", ask);
    button.addEventListener("click", () => (remembered() ? open(remembered()) : ask()));
    dialog.querySelector("[data-hub-cancel]").addEventListener("click", () => dialog.close());
    dialog.querySelector("form").noValidate = true;
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const address = cleanAddress(field.value);
      if (!address) {
        fault.textContent = "This is no web address. It looks like https://hub.example.edu";
        field.setAttribute("aria-invalid", "true");
        field.focus();
        return;
      }
      remember(address);
      change.hidden = false;
      dialog.close();
      open(address);
    });
  }

  /* What is wider than its column scrolls inside its own box: let the keyboard in, with a name. */
  const SCROLLING = [
    ["pre", "Code"],
    [".cell_output > .output", "Output"],
    [".pst-scrollable-table-container", "Table"],
    ["mjx-container[display=true]", "Formula"],
    [".math--wide", "Formula"],
  ];
  function nameScrollingRegions() {
    for (const formula of document.querySelectorAll("#main-content span.math")) {
      formula.classList.remove("math--wide");
      const column = formula.closest("p, li, dd, td, figcaption, h1, h2, h3, h4");
      if (column && formula.getBoundingClientRect().width > column.clientWidth) formula.classList.add("math--wide");
    }
    for (const [selector, name] of SCROLLING) {
      for (const box of document.querySelectorAll(`#main-content ${selector}`)) {
        const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
        if (scrolls) {
          box.tabIndex = 0;
          box.setAttribute("role", "group");
          box.setAttribute("aria-label", `${name}, scrolls`);
        } else if (box.getAttribute("aria-label") === `${name}, scrolls`) {
          box.removeAttribute("tabindex");
          box.removeAttribute("role");
          box.removeAttribute("aria-label");
        }
      }
    }
  }

  function setUpScrolling() {
    let timer;
    const soon = () => { clearTimeout(timer); timer = setTimeout(nameScrollingRegions, 100); };
    nameScrollingRegions();
    window.addEventListener("resize", soon);
    document.addEventListener("toggle", soon, true); // a <details> that opens
    document.addEventListener("change", soon); // a tab that is chosen
    window.MathJax?.startup?.promise?.then(soon);
  }

  // Paper is white: print a dark page in the light colours.
  let screenTheme;
  window.addEventListener("beforeprint", () => {
    screenTheme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
  });
  window.addEventListener("afterprint", () => { document.documentElement.dataset.theme = screenTheme; });

  // A page read from the disk may not fetch the others: the search shows titles without excerpts.
  // (Sphinx declares its options with const, so they are no property of window.)
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  setUpHub();
  document.querySelectorAll("[data-print]").forEach((button) =>
    button.addEventListener("click", () => window.print()));
  if (document.readyState === "complete") setUpScrolling();
  else window.addEventListener("load", setUpScrolling);
})();
