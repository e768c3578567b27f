// What the application has switched off: see voltmem/chat/_features.py.

let off = [];

/** Read it from the chat's page, which the page around <voltmem-sidebar> is not. */
export const readFeatures = ({ documentElement }) => (off = JSON.parse(documentElement.dataset.settings ?? "{}").without ?? []);

export const has = (feature) => !off.includes(feature);

/** Return the things without those of a feature that is switched off. */
export const offered = (things) => things.filter(({ feature }) => has(feature));

readFeatures(document);
