/** What stands in the toolbar of a pane: which cluster it shows, and how that does. */
import type { JSX } from 'react';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import type { ICellspanModel, Translations } from '../tokens';
import { runningText, stateText } from '../words';

export function clusterBar(
  model: ICellspanModel,
  cluster: string,
  trans: Translations
): ReactWidget {
  const bar = ReactWidget.create(
    <UseSignal signal={model.changed}>
      {() => <Bar model={model} cluster={cluster} trans={trans} />}
    </UseSignal>
  );
  bar.addClass('cellspan-Bar');
  return bar;
}

function Bar(props: { model: ICellspanModel; cluster: string; trans: Translations }): JSX.Element {
  const { model, trans } = props;
  const found = model.find(props.cluster);
  return (
    <>
      <span className="cellspan-State" data-state={found?.state ?? 'gone'} aria-hidden="true" />
      <b>{props.cluster}</b>
      <span className="cellspan-Muted">{found ? stateText(found, trans) : trans.__('Gone')}</span>
      {found?.state === 'running' && (
        <span className="cellspan-Muted">
          {trans._n('%1 worker', '%1 workers', found.workers)}
          {' · '}
          {runningText(found.tasks.running, trans)}
        </span>
      )}
    </>
  );
}
