// Shows one person at a time, chosen by the address (#user-5), so that links and the browser's back button work.
// Without this script all people are shown one below the other, and the same links lead to them.
(() => {
  const here = document.querySelector("nav.contents [aria-current]");
  const row = here?.closest("ul");
  if (row) row.scrollLeft = here.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
  const people = [...document.querySelectorAll("[data-person]")];
  const links = [...document.querySelectorAll("[data-chooses]")];
  const said = document.querySelector("[data-said]");
  if (people.length < 2) return;
  const show = () => {
    const wanted = location.hash.slice(1);
    const chosen = people.find((person) => person.id === wanted) ?? people[0];
    for (const person of people) person.hidden = person !== chosen;
    for (const link of links) {
      if (link.hash === `#${chosen.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (said) said.textContent = `Showing ${chosen.dataset.person}`;
  };
  addEventListener("hashchange", show);
  show();
})();
