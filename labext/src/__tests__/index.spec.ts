import plugins from '../index';

test('every plugin has an id under the package, and its own', () => {
  const ids = plugins.map(plugin => plugin.id);
  expect(ids).not.toHaveLength(0);
  for (const id of ids) {
    expect(id).toMatch(/^@cellspan\/labextension:[a-z-]+$/);
  }
  expect(new Set(ids).size).toBe(ids.length);
});
